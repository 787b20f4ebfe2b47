import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.serialization.LongDeserializer;
import org.apache.kafka.common.serialization.LongSerializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * An idempotent acks=all load that outlives the broker's death, and the check of what it was promised.
 *
 * <p>Usage: BOOTSTRAP TOPIC MILLISECONDS [REPLICATION]. Prints "loading" once records are acknowledged. Meanwhile it creates topics and commits
 * growing offsets. When the time is over it flushes and verifies: every acknowledged record once, in order of sending; no
 * acknowledged offset moved; every created topic there; every committed offset at least what was acknowledged.
 */
public final class KillLoad {
    private static final int PARTITIONS = 3;

    public static void main(String[] args) throws Exception {
        String bootstrap = args[0];
        String topic = args[1];
        short replication = args.length > 3 ? Short.parseShort(args[3]) : 1;
        try (Admin admin = Admin.create(config(bootstrap))) {
            admin.createTopics(List.of(new NewTopic(topic, PARTITIONS, replication))).all().get();
        }
        long end = System.currentTimeMillis() + Long.parseLong(args[2]);
        Map<Long, String> acknowledged = new ConcurrentHashMap<>();
        AtomicLong refused = new AtomicLong();
        List<String> created = new ArrayList<>();
        AtomicLong committed = new AtomicLong(-1);
        Thread side = new Thread(() -> side(bootstrap, topic, replication, end, created, committed));
        side.start();
        long sent = 0;
        try (KafkaProducer<Long, String> producer = producer(bootstrap)) {
            while (sent < 400 || System.currentTimeMillis() < end) {
                long number = sent++;
                producer.send(new ProducerRecord<>(topic, (int) (number % PARTITIONS), number, "payload " + number), (metadata, error) -> {
                    if (error == null) {
                        acknowledged.put(number, metadata.partition() + "@" + metadata.offset());
                    } else {
                        refused.incrementAndGet();
                    }
                });
                if (sent == 200) {
                    producer.flush();
                    System.out.println("loading");
                }
                if (sent % 50 == 0) {
                    Thread.sleep(1);
                }
            }
        }
        side.join();
        verify(bootstrap, topic, sent, acknowledged);
        check(refused.get() == 0, refused + " records refused");
        check(acknowledged.size() == sent, "sent " + sent + ", acknowledged " + acknowledged.size());
        try (Admin admin = Admin.create(config(bootstrap))) {
            Set<String> names = admin.listTopics().names().get();
            check(names.containsAll(created), "created " + created + ", there are " + names);
            for (String name : created) {
                check(admin.describeTopics(List.of(name)).allTopicNames().get().get(name).partitions().size() == 2, name + " has 2 partitions");
            }
            if (committed.get() >= 0) {
                TopicPartition partition = new TopicPartition(topic, 0);
                OffsetAndMetadata found = admin.listConsumerGroupOffsets(topic + "-group").partitionsToOffsetAndMetadata().get().get(partition);
                check(found != null && found.offset() >= committed.get(), "committed " + committed + ", found " + found);
            }
        }
        System.out.println("verified " + sent + " records, " + created.size() + " topics, committed offset " + committed);
    }

    private static void side(String bootstrap, String topic, short replication, long end, List<String> created, AtomicLong committed) {
        Map<String, Object> config = config(bootstrap);
        config.put("group.id", topic + "-group");
        config.put("default.api.timeout.ms", "30000");
        TopicPartition partition = new TopicPartition(topic, 0);
        try (Admin admin = Admin.create(config(bootstrap));
             KafkaConsumer<Long, String> consumer = new KafkaConsumer<>(config, new LongDeserializer(), new StringDeserializer())) {
            consumer.assign(List.of(partition));
            for (int i = 0; System.currentTimeMillis() < end; i++) {
                try {
                    consumer.commitSync(Map.of(partition, new OffsetAndMetadata(i)));
                    committed.set(i);
                } catch (RuntimeException unanswered) {
                    // Not promised.
                }
                if (i % 10 == 0) {
                    String name = topic + "-side-" + i;
                    try {
                        admin.createTopics(List.of(new NewTopic(name, 2, replication))).all().get();
                        created.add(name);
                    } catch (Exception error) {
                        if (error.getCause() instanceof TopicExistsException) {
                            created.add(name);
                        }
                    }
                }
                Thread.sleep(5);
            }
        } catch (InterruptedException stop) {
            Thread.currentThread().interrupt();
        }
    }

    private static void verify(String bootstrap, String topic, long sent, Map<Long, String> acknowledged) {
        Map<String, Object> config = config(bootstrap);
        config.put("auto.offset.reset", "earliest");
        Map<Long, String> found = new TreeMap<>();
        try (KafkaConsumer<Long, String> consumer = new KafkaConsumer<>(config, new LongDeserializer(), new StringDeserializer())) {
            List<TopicPartition> all = new ArrayList<>();
            for (int i = 0; i < PARTITIONS; i++) {
                all.add(new TopicPartition(topic, i));
            }
            consumer.assign(all);
            consumer.seekToBeginning(all);
            Map<TopicPartition, Long> ends = consumer.endOffsets(all);
            long[] last = new long[PARTITIONS];
            java.util.Arrays.fill(last, -1);
            while (all.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition))) {
                for (ConsumerRecord<Long, String> record : consumer.poll(Duration.ofMillis(200))) {
                    String place = record.partition() + "@" + record.offset();
                    check(record.value().equals("payload " + record.key()), "the record at " + place + " holds " + record.value());
                    String other = found.put(record.key(), place);
                    check(other == null, "record " + record.key() + " twice: " + other + " and " + place);
                    check(record.key() > last[record.partition()], "record " + record.key() + " after " + last[record.partition()]);
                    last[record.partition()] = record.key();
                }
            }
        }
        acknowledged.forEach((number, place) -> check(place.equals(found.get(number)), "record " + number + " acknowledged at " + place + ", found " + found.get(number)));
        check(found.size() <= sent, "found " + found.size() + " of " + sent);
    }

    private static void check(boolean right, String text) {
        if (!right) {
            throw new AssertionError(text);
        }
    }

    private static KafkaProducer<Long, String> producer(String bootstrap) {
        Map<String, Object> config = config(bootstrap);
        config.put("acks", "all");
        config.put("enable.idempotence", "true");
        config.put("linger.ms", "2");
        config.put("batch.size", "4096");
        config.put("reconnect.backoff.max.ms", "100");
        return new KafkaProducer<>(config, new LongSerializer(), new StringSerializer());
    }

    private static Map<String, Object> config(String bootstrap) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        return config;
    }
}
