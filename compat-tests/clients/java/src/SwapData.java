import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListOffsetsResult;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.ProducerState;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * What partition directories are filled with before they change hands, and all that can be seen of it afterwards.
 *
 * <p>{@code create} makes the topics, {@code fill} writes to them, {@code more} writes a little more, {@code show} prints
 * every record in both isolation levels, the ends, look-ups by time and the producers' state.
 */
public final class SwapData {
    private static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");
    /** Timestamps begin here: given, so that both brokers are asked for the same ones. */
    private static long EPOCH;

    public static void main(String[] args) throws Exception {
        String bootstrap = args[1];
        EPOCH = Long.parseLong(args[2]);
        switch (args[0]) {
            case "create" -> create(bootstrap);
            case "fill" -> fill(bootstrap);
            case "more" -> more(bootstrap);
            case "show" -> show(bootstrap);
            default -> throw new IllegalArgumentException(args[0]);
        }
    }

    private static Map<TopicPartition, Integer> places() {
        Map<TopicPartition, Integer> places = new TreeMap<>((a, b) -> a.toString().compareTo(b.toString()));
        for (int partition = 0; partition < 2; partition++) {
            places.put(new TopicPartition("swap-plain", partition), partition);
        }
        places.put(new TopicPartition("swap-compacted", 0), 0);
        places.put(new TopicPartition("swap-transactions", 0), 0);
        return places;
    }

    private static Admin admin(String bootstrap) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        return Admin.create(properties);
    }

    private static void create(String bootstrap) throws Exception {
        try (Admin admin = admin(bootstrap)) {
            Map<String, String> small = Map.of("index.interval.bytes", "200", "segment.ms", "300");
            Map<String, String> compacted = Map.of(
                "cleanup.policy", "compact", "min.cleanable.dirty.ratio", "0.01", "segment.ms", "300",
                "index.interval.bytes", "200");
            admin.createTopics(List.of(
                new NewTopic("swap-plain", 2, (short) 1).configs(small),
                new NewTopic("swap-compacted", 1, (short) 1).configs(compacted),
                new NewTopic("swap-transactions", 1, (short) 1).configs(small))).all().get();
        }
    }

    private static KafkaProducer<String, String> producer(String bootstrap, String codec, String transactionalId) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("compression.type", codec);
        properties.put("linger.ms", "5");
        if (transactionalId != null) {
            properties.put("transactional.id", transactionalId);
        }
        return new KafkaProducer<>(properties, new StringSerializer(), new StringSerializer());
    }

    private static ProducerRecord<String, String> record(String topic, int partition, long n, String key) {
        ProducerRecord<String, String> record =
            new ProducerRecord<>(topic, partition, EPOCH + n * 1000, key, "value " + n + " " + "x".repeat((int) (n % 50)));
        record.headers().add("h", ("header " + n).getBytes(StandardCharsets.UTF_8));
        record.headers().add("h", null);
        return record;
    }

    private static void fill(String bootstrap) throws Exception {
        long n = 0;
        // Rounds are further apart than segment.ms by their timestamps, so that there are several segments.
        for (String codec : CODECS) {
            try (KafkaProducer<String, String> producer = producer(bootstrap, codec, null)) {
                for (int i = 0; i < 40; i++) {
                    producer.send(record("swap-plain", i % 2, n++, i % 3 == 0 ? null : "key " + i));
                }
                for (int i = 0; i < 40; i++) {
                    producer.send(record("swap-compacted", 0, n++, "key " + i % 7));
                }
                producer.send(new ProducerRecord<>("swap-compacted", 0, EPOCH + n++ * 1000, "key 3", (String) null));
                producer.flush();
            }
        }
        for (int round = 0; round < 6; round++) {
            try (KafkaProducer<String, String> producer = producer(bootstrap, CODECS.get(round % 5), "swap-" + round % 3)) {
                producer.initTransactions();
                producer.beginTransaction();
                for (int i = 0; i < 5; i++) {
                    producer.send(record("swap-transactions", 0, n++, "round " + round));
                }
                producer.flush();
                if (round % 2 == 0) {
                    producer.commitTransaction();
                } else {
                    producer.abortTransaction();
                }
            }
        }
        System.out.println("filled");
    }

    private static void more(String bootstrap) throws Exception {
        try (KafkaProducer<String, String> producer = producer(bootstrap, "none", null)) {
            for (TopicPartition place : places().keySet()) {
                producer.send(record(place.topic(), place.partition(), 5000, "more")).get();
            }
        }
        try (KafkaProducer<String, String> producer = producer(bootstrap, "none", "swap-more")) {
            producer.initTransactions();
            for (boolean commit : List.of(false, true)) {
                producer.beginTransaction();
                producer.send(record("swap-transactions", 0, 5001, commit ? "committed later" : "aborted later")).get();
                if (commit) {
                    producer.commitTransaction();
                } else {
                    producer.abortTransaction();
                }
            }
        }
        System.out.println("more");
    }

    private static void show(String bootstrap) throws Exception {
        List<TopicPartition> places = new ArrayList<>(places().keySet());
        try (Admin admin = admin(bootstrap)) {
            for (TopicPartition place : places) {
                for (Map.Entry<String, OffsetSpec> asked : Map.of(
                    "earliest", OffsetSpec.earliest(), "latest", OffsetSpec.latest(),
                    "max timestamp", OffsetSpec.maxTimestamp(),
                    "a time", OffsetSpec.forTimestamp(EPOCH + 150_500)).entrySet().stream()
                    .sorted(Map.Entry.comparingByKey()).toList()) {
                    ListOffsetsResult.ListOffsetsResultInfo found =
                        admin.listOffsets(Map.of(place, asked.getValue())).partitionResult(place).get();
                    System.out.println(place + " " + asked.getKey() + " " + found.offset() + " " + found.timestamp());
                }
                List<ProducerState> producers =
                    new ArrayList<>(admin.describeProducers(List.of(place)).partitionResult(place).get().activeProducers());
                producers.sort((a, b) -> Long.compare(a.producerId(), b.producerId()));
                for (ProducerState producer : producers) {
                    System.out.println(place + " producer " + producer.producerId() + " epoch " + producer.producerEpoch()
                        + " sequence " + producer.lastSequence() + " coordinator " + producer.coordinatorEpoch()
                        + " open " + producer.currentTransactionStartOffset());
                }
            }
        }
        for (String isolation : List.of("read_uncommitted", "read_committed")) {
            Properties properties = new Properties();
            properties.put("bootstrap.servers", bootstrap);
            properties.put("isolation.level", isolation);
            properties.put("auto.offset.reset", "earliest");
            try (KafkaConsumer<byte[], byte[]> consumer =
                new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
                for (TopicPartition place : places) {
                    consumer.assign(Collections.singletonList(place));
                    consumer.seekToBeginning(Collections.singletonList(place));
                    long end = consumer.endOffsets(Collections.singletonList(place)).get(place);
                    long deadline = System.nanoTime() + Duration.ofSeconds(20).toNanos();
                    while (consumer.position(place) < end) {
                        if (System.nanoTime() > deadline) {
                            throw new IllegalStateException(place + " ends at " + end + ", read to " + consumer.position(place));
                        }
                        for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                            System.out.println(isolation + " " + place + " " + record.offset() + " " + record.timestamp() + " "
                                + record.timestampType() + " " + text(record.key()) + " " + text(record.value()) + " "
                                + headers(record));
                        }
                    }
                }
            }
        }
    }

    private static String text(byte[] bytes) {
        return bytes == null ? "null" : new String(bytes, StandardCharsets.UTF_8);
    }

    private static String headers(ConsumerRecord<byte[], byte[]> record) {
        StringBuilder text = new StringBuilder();
        for (Header header : record.headers()) {
            text.append(header.key()).append('=').append(text(header.value())).append(';');
        }
        return text.toString();
    }
}
