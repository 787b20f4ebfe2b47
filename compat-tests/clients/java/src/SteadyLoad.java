import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.LongDeserializer;
import org.apache.kafka.common.serialization.LongSerializer;

/**
 * An idempotent acks=all producer and a member of a group, with the defaults of users, that go on until a file appears.
 *
 * <p>Usage: BOOTSTRAP FILE TOPIC... Prints "loading" once the consumer has records of every topic. In the end: no send was refused, no
 * poll threw, and every acknowledged record was consumed at the offset that was acknowledged.
 */
public final class SteadyLoad {
    /** Records each millisecond would be too many for a small machine: this is about 500 a second. */
    private static final int PAUSE_MS = 2;

    public static void main(String[] args) throws Exception {
        String bootstrap = args[0];
        Path end = Path.of(args[1]);
        List<String> topics = List.of(args).subList(2, args.length);
        Map<String, Long> acknowledged = new ConcurrentHashMap<>();
        Map<String, Long> consumed = new ConcurrentHashMap<>();
        Map<String, Boolean> seen = new ConcurrentHashMap<>();
        AtomicReference<Throwable> failure = new AtomicReference<>();
        AtomicLong sent = new AtomicLong();
        Thread consumer = new Thread(() -> {
            try {
                consume(bootstrap, topics, sent, acknowledged, consumed, seen);
            } catch (Throwable error) {
                failure.compareAndSet(null, error);
            }
        });
        consumer.start();
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        AtomicLong longest = new AtomicLong();
        long began = System.currentTimeMillis();
        boolean isTold = false;
        try (KafkaProducer<Long, Long> producer = new KafkaProducer<>(config, new LongSerializer(), new LongSerializer())) {
            while (!Files.exists(end) && failure.get() == null) {
                long number = sent.getAndIncrement();
                String topic = topics.get((int) (number % topics.size()));
                long at = System.currentTimeMillis();
                producer.send(new ProducerRecord<>(topic, number, number), (metadata, error) -> {
                    if (error == null) {
                        longest.accumulateAndGet(System.currentTimeMillis() - at, Math::max);
                        acknowledged.put(metadata.topic() + "-" + metadata.partition() + "@" + metadata.offset(), number);
                    } else {
                        failure.compareAndSet(null, error);
                    }
                });
                if (!isTold && seen.size() == topics.size()) {
                    isTold = true;
                    System.out.println("loading");
                }
                Thread.sleep(PAUSE_MS);
            }
            producer.flush();
        }
        sent.set(-sent.get() - 1);
        consumer.join();
        if (failure.get() != null) {
            throw new AssertionError("a client saw an error", failure.get());
        }
        long count = -sent.get() - 1;
        if (acknowledged.size() != count) {
            throw new AssertionError("sent " + count + ", acknowledged " + acknowledged.size());
        }
        acknowledged.forEach((place, number) -> {
            if (!number.equals(consumed.get(place))) {
                throw new AssertionError("record " + number + " acknowledged at " + place + ", found " + consumed.get(place));
            }
        });
        System.out.println("verified " + count + " records in " + (System.currentTimeMillis() - began) + " ms; the longest was under way for "
            + longest.get() + " ms");
    }

    /** Until everything that was acknowledged has come, once the producer is done (then `sent` is below 0). */
    private static void consume(String bootstrap, List<String> topics, AtomicLong sent, Map<String, Long> acknowledged,
            Map<String, Long> consumed, Map<String, Boolean> seen) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("group.id", "steady");
        config.put("auto.offset.reset", "earliest");
        try (KafkaConsumer<Long, Long> consumer = new KafkaConsumer<>(config, new LongDeserializer(), new LongDeserializer())) {
            consumer.subscribe(topics);
            long quiet = System.currentTimeMillis();
            while (sent.get() >= 0 || !consumed.keySet().containsAll(acknowledged.keySet())) {
                for (ConsumerRecord<Long, Long> record : consumer.poll(Duration.ofMillis(100))) {
                    seen.put(record.topic(), true);
                    Long other = consumed.put(record.topic() + "-" + record.partition() + "@" + record.offset(), record.value());
                    if (other != null && !other.equals(record.value())) {
                        throw new AssertionError("two records at one offset: " + other + " and " + record.value());
                    }
                    quiet = System.currentTimeMillis();
                }
                if (System.currentTimeMillis() - quiet > 60_000) {
                    List<String> missing = new ArrayList<>(acknowledged.keySet());
                    missing.removeAll(consumed.keySet());
                    throw new AssertionError("nothing came for a minute; missing " + missing.size() + ", as " + missing.subList(0, Math.min(5, missing.size())));
                }
            }
        }
    }
}
