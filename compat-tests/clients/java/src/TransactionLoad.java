import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.serialization.LongDeserializer;
import org.apache.kafka.common.serialization.LongSerializer;

/**
 * Exactly once over fail-overs: copies numbers from one topic to another in transactions that hold the offsets too.
 *
 * <p>Usage: BOOTSTRAP PREFIX MILLISECONDS REPLICATION. Fills PREFIX-in, prints "loading", copies until the time is over and
 * everything is copied, and then checks PREFIX-out as a reader of committed records sees it: every number once, in order
 * within each partition. Every seventh transaction is aborted on purpose after it wrote a number that nobody may see.
 */
public final class TransactionLoad {
    private static final int PARTITIONS = 3;

    public static void main(String[] args) throws Exception {
        String bootstrap = args[0];
        String in = args[1] + "-in";
        String out = args[1] + "-out";
        short replication = Short.parseShort(args[3]);
        try (Admin admin = Admin.create(config(bootstrap))) {
            admin.createTopics(List.of(new NewTopic(in, PARTITIONS, replication), new NewTopic(out, PARTITIONS, replication))).all().get();
        }
        long end = System.currentTimeMillis() + Long.parseLong(args[2]);
        Thread filler = new Thread(() -> fill(bootstrap, in, end));
        filler.start();
        int lives = copy(bootstrap, in, out, args[1], filler);
        long numbers = ends(bootstrap, in);
        verify(bootstrap, out, numbers);
        System.out.println("verified " + numbers + " numbers, " + lives + " lives of the producer");
    }

    private static volatile long filled = -1;

    private static void fill(String bootstrap, String in, long end) {
        Map<String, Object> config = config(bootstrap);
        config.put("acks", "all");
        config.put("enable.idempotence", "true");
        long number = 0;
        try (KafkaProducer<Long, Long> producer = new KafkaProducer<>(config, new LongSerializer(), new LongSerializer())) {
            while (number < 300 || System.currentTimeMillis() < end) {
                producer.send(new ProducerRecord<>(in, (int) (number % PARTITIONS), number, number));
                number++;
                if (number % 10 == 0) {
                    Thread.sleep(10);
                }
            }
            producer.flush();
        } catch (InterruptedException stop) {
            Thread.currentThread().interrupt();
        }
        filled = number;
    }

    private static int copy(String bootstrap, String in, String out, String name, Thread filler) throws Exception {
        int lives = 0;
        int transactions = 0;
        boolean told = false;
        while (true) {
            lives++;
            if (lives > 200) {
                throw new AssertionError("the producer died " + lives + " times");
            }
            try (KafkaProducer<Long, Long> producer = producer(bootstrap, name); KafkaConsumer<Long, Long> consumer = consumer(bootstrap, name)) {
                producer.initTransactions();
                List<TopicPartition> all = partitions(in);
                consumer.assign(all);
                Map<TopicPartition, Long> next = new HashMap<>();
                Map<TopicPartition, OffsetAndMetadata> committed = consumer.committed(new HashSet<>(all), Duration.ofSeconds(60));
                for (TopicPartition partition : all) {
                    OffsetAndMetadata offset = committed.get(partition);
                    next.put(partition, offset == null ? 0 : offset.offset());
                    consumer.seek(partition, next.get(partition));
                }
                while (true) {
                    if (!filler.isAlive() && next.values().stream().mapToLong(Long::longValue).sum() >= filled) {
                        return lives;
                    }
                    Map<TopicPartition, Long> after = new HashMap<>(next);
                    List<ConsumerRecord<Long, Long>> records = new ArrayList<>();
                    consumer.poll(Duration.ofMillis(50)).forEach(records::add);
                    if (records.isEmpty()) {
                        continue;
                    }
                    boolean doomed = ++transactions % 7 == 0;
                    try {
                        producer.beginTransaction();
                        for (ConsumerRecord<Long, Long> record : records) {
                            producer.send(new ProducerRecord<>(out, record.partition(), record.key(), doomed ? Long.valueOf(-1) : record.value()));
                            after.put(new TopicPartition(in, record.partition()), record.offset() + 1);
                        }
                        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
                        after.forEach((partition, offset) -> offsets.put(partition, new OffsetAndMetadata(offset)));
                        producer.sendOffsetsToTransaction(offsets, consumer.groupMetadata());
                        if (doomed) {
                            producer.abortTransaction();
                        } else {
                            producer.commitTransaction();
                            next = after;
                            if (!told) {
                                System.out.println("loading");
                                told = true;
                            }
                        }
                    } catch (ProducerFencedException fenced) {
                        // Nobody else has this transactional id, but a broker's timeout may have come first: begin anew.
                        throw fenced;
                    } catch (KafkaException error) {
                        producer.abortTransaction();
                    }
                    for (TopicPartition partition : all) {
                        consumer.seek(partition, next.get(partition));
                    }
                }
            } catch (KafkaException error) {
                System.out.println("begins anew: " + error);
                Thread.sleep(100);
            }
        }
    }

    private static long ends(String bootstrap, String topic) {
        try (KafkaConsumer<Long, Long> consumer = consumer(bootstrap, "ends")) {
            return consumer.endOffsets(partitions(topic)).values().stream().mapToLong(Long::longValue).sum();
        }
    }

    private static void verify(String bootstrap, String out, long numbers) {
        Set<Long> found = new HashSet<>();
        try (KafkaConsumer<Long, Long> consumer = consumer(bootstrap, "verify")) {
            List<TopicPartition> all = partitions(out);
            consumer.assign(all);
            consumer.seekToBeginning(all);
            long[] last = new long[PARTITIONS];
            java.util.Arrays.fill(last, -1);
            long deadline = System.currentTimeMillis() + 60_000;
            Map<TopicPartition, Long> ends = consumer.endOffsets(all);
            while (all.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition)) || found.size() < numbers) {
                check(System.currentTimeMillis() < deadline, "found " + found.size() + " of " + numbers);
                for (ConsumerRecord<Long, Long> record : consumer.poll(Duration.ofMillis(200))) {
                    check(record.value().equals(record.key()), "an aborted record: " + record);
                    check(found.add(record.key()), "number " + record.key() + " twice");
                    check(record.key() > last[record.partition()], "number " + record.key() + " after " + last[record.partition()]);
                    last[record.partition()] = record.key();
                }
            }
        }
        check(found.size() == numbers, "found " + found.size() + " of " + numbers);
    }

    private static List<TopicPartition> partitions(String topic) {
        List<TopicPartition> all = new ArrayList<>();
        for (int i = 0; i < PARTITIONS; i++) {
            all.add(new TopicPartition(topic, i));
        }
        return all;
    }

    private static void check(boolean right, String text) {
        if (!right) {
            throw new AssertionError(text);
        }
    }

    private static KafkaProducer<Long, Long> producer(String bootstrap, String name) {
        Map<String, Object> config = config(bootstrap);
        config.put("transactional.id", name + "-copier");
        config.put("reconnect.backoff.max.ms", "100");
        return new KafkaProducer<>(config, new LongSerializer(), new LongSerializer());
    }

    private static KafkaConsumer<Long, Long> consumer(String bootstrap, String name) {
        Map<String, Object> config = config(bootstrap);
        config.put("group.id", name + "-group");
        config.put("isolation.level", "read_committed");
        config.put("enable.auto.commit", "false");
        config.put("auto.offset.reset", "none");
        config.put("max.poll.records", "500");
        return new KafkaConsumer<>(config, new LongDeserializer(), new LongDeserializer());
    }

    private static Map<String, Object> config(String bootstrap) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        return config;
    }
}
