import java.io.FileWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * One transactional client of the checker in {@code src/jepsen}; the lines it writes are described in {@code history.rs}.
 *
 * <p>Usage: work|final|raw BOOTSTRAP TOPIC KEYS PROCESS TRANSACTIONS SEED FILE. The keys are the partitions of the topic. {@code work} runs transactions
 * one after the other; {@code final} reads everything that is committed, {@code raw} everything, and both say what the group's offset is.
 */
public final class JepsenClient {
    private final String bootstrap;
    private final String topic;
    private final int keys;
    private final String process;
    private final Random random;
    private final FileWriter file;
    private KafkaProducer<String, String> producer;
    private KafkaConsumer<String, String> consumer;
    private int session;
    private long values;

    private JepsenClient(String[] args) throws IOException {
        bootstrap = args[1];
        topic = args[2];
        keys = Integer.parseInt(args[3]);
        process = args[4];
        random = new Random(Long.parseLong(args[6]));
        file = new FileWriter(args[7], true);
    }

    public static void main(String[] args) throws Exception {
        JepsenClient client = new JepsenClient(args);
        if (args[0].equals("work")) {
            for (int n = 1; n <= Integer.parseInt(args[5]); n++) {
                client.transaction(n);
            }
        } else {
            client.readAll(args[0]);
        }
        client.file.close();
    }

    private void transaction(int n) throws Exception {
        List<String> ops = new ArrayList<>();
        List<Sent> sent = new ArrayList<>();
        boolean withOffset = random.nextInt(4) == 0;
        boolean aborts = random.nextInt(10) == 0;
        Long asked = null;
        String type = "fail";
        try {
            open();
            producer.beginTransaction();
            for (int i = random.nextInt(4); i >= 0; i--) {
                if (random.nextInt(3) == 0) {
                    poll(ops, Duration.ofMillis(20));
                } else {
                    int key = random.nextInt(keys);
                    String value = process + "-" + values++;
                    sent.add(new Sent(ops.size(), key, value, producer.send(new ProducerRecord<>(topic, key, null, value))));
                    ops.add(null);
                }
            }
            if (withOffset) {
                producer.sendOffsetsToTransaction(Map.of(new TopicPartition(topic, 0), new OffsetAndMetadata(n)), consumer.groupMetadata());
            }
            if (aborts) {
                // What has not been sent yet would not be.
                producer.flush();
                producer.abortTransaction();
            } else {
                asked = micros();
                commit();
                type = "ok";
            }
        } catch (RuntimeException error) {
            type = asked == null ? "fail" : "info";
            give(error);
        }
        for (Sent record : sent) {
            ops.set(record.place, "[\"s\"," + record.key + ",\"" + record.value + "\"," + record.offset() + "]");
        }
        write("{\"p\":\"" + process + "\",\"f\":\"txn\",\"type\":\"" + type + "\",\"commit\":" + asked
            + (withOffset ? ",\"group\":\"" + process + "\",\"n\":" + n : "") + ",\"ops\":[" + String.join(",", ops) + "]}");
    }

    /** A commit that timed out may be asked for again: it is the same commit. */
    private void commit() {
        for (int attempt = 0;; attempt++) {
            try {
                producer.commitTransaction();
                return;
            } catch (TimeoutException again) {
                if (attempt == 3) {
                    throw again;
                }
            }
        }
    }

    private void open() {
        if (producer == null) {
            Map<String, Object> config = config();
            config.put("transactional.id", process);
            config.put("transaction.timeout.ms", "30000");
            config.put("max.block.ms", "20000");
            config.put("delivery.timeout.ms", "20000");
            config.put("request.timeout.ms", "5000");
            config.put("linger.ms", "1");
            producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer());
            producer.initTransactions();
        }
        if (consumer == null || random.nextInt(200) == 0) {
            if (consumer != null) {
                consumer.close();
            }
            consumer = consumer("read_committed");
            session++;
            if (session > 1) {
                consumer.seekToEnd(partitions());
            } else {
                consumer.seekToBeginning(partitions());
            }
        }
    }

    /** After an error a new producer of the same id takes over: that ends what was open. */
    private void give(RuntimeException error) {
        System.err.println(process + ": " + error);
        if (producer != null) {
            try {
                producer.close(Duration.ZERO);
            } catch (RuntimeException closing) {
                System.err.println(process + ", closing: " + closing);
            }
            producer = null;
        }
        if (consumer != null && random.nextInt(3) == 0) {
            consumer.close();
            consumer = null;
        }
    }

    private void poll(List<String> ops, Duration patience) {
        Map<Integer, StringBuilder> found = new TreeMap<>();
        for (ConsumerRecord<String, String> record : consumer.poll(patience)) {
            StringBuilder records = found.computeIfAbsent(record.partition(), key -> new StringBuilder());
            records.append(records.isEmpty() ? "" : ",").append("[").append(record.offset()).append(",\"").append(record.value()).append("\"]");
        }
        long done = micros();
        found.forEach((key, records) -> ops.add("[\"p\"," + session + "," + key + ",[" + records + "]," + done + "]"));
    }

    private void readAll(String kind) {
        consumer = consumer(kind.equals("raw") ? "read_uncommitted" : "read_committed");
        List<TopicPartition> all = partitions();
        consumer.seekToBeginning(all);
        Map<TopicPartition, Long> ends = consumer.endOffsets(all);
        List<String> ops = new ArrayList<>();
        while (all.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition))) {
            poll(ops, Duration.ofMillis(200));
        }
        write("{\"p\":\"" + process + "-" + kind + "\",\"f\":\"" + kind + "\",\"type\":\"ok\",\"commit\":null,\"ops\":[" + String.join(",", ops) + "]}");
        consumer.close();
        try (Admin admin = Admin.create(config())) {
            OffsetAndMetadata offset = admin.listConsumerGroupOffsets(process).partitionsToOffsetAndMetadata().get().get(new TopicPartition(topic, 0));
            write("{\"f\":\"offset\",\"group\":\"" + process + "\",\"n\":" + (offset == null ? -1 : offset.offset()) + "}");
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
    }

    private KafkaConsumer<String, String> consumer(String isolation) {
        Map<String, Object> config = config();
        config.put("group.id", process);
        config.put("isolation.level", isolation);
        config.put("enable.auto.commit", "false");
        config.put("fetch.max.wait.ms", "20");
        // Nothing is passed over in silence.
        config.put("auto.offset.reset", "none");
        KafkaConsumer<String, String> made = new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer());
        made.assign(partitions());
        return made;
    }

    private List<TopicPartition> partitions() {
        List<TopicPartition> all = new ArrayList<>();
        for (int key = 0; key < keys; key++) {
            all.add(new TopicPartition(topic, key));
        }
        return all;
    }

    private Map<String, Object> config() {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("reconnect.backoff.max.ms", "200");
        return config;
    }

    private void write(String line) {
        try {
            file.write(line + "\n");
            file.flush();
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static long micros() {
        Instant now = Instant.now();
        return now.getEpochSecond() * 1_000_000 + now.getNano() / 1000;
    }

    private record Sent(int place, int key, String value, Future<RecordMetadata> answer) {
        String offset() {
            try {
                return answer.isDone() ? String.valueOf(answer.get().offset()) : "null";
            } catch (Exception refused) {
                return "null";
            }
        }
    }
}
