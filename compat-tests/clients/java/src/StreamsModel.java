import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.LongDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * The input of {@link StreamsApp} and what its output has to be.
 *
 * <p>Usage: create|feed|verify BOOTSTRAP APPLICATION GUARANTEE LINES MILLISECONDS RUNS START. {@code feed} prints "loading" when records flow and
 * spreads them over the time; {@code verify} waits for the output and holds it against the model. RUNS says how often the input was processed from
 * the start (after an application reset). START is the time of the first record: recent, or changelogs with a retention lose what is too old.
 */
public final class StreamsModel {
    private static final int PARTITIONS = 2;
    private static final String[] WORDS = "the quick brown fox jumps over lazy dog and then sleeps until next morning comes".split(" ");

    private final String bootstrap;
    private final String application;
    private final boolean exactly;
    private final int lines;
    private final long runs;
    private final long start;
    private final Map<String, Long> counts = new TreeMap<>();
    private final Map<String, Long> windows = new TreeMap<>();
    private final Set<String> joined = new HashSet<>();

    private StreamsModel(String[] args) {
        bootstrap = args[1];
        application = args[2];
        exactly = args[3].equals("exactly_once_v2");
        lines = Integer.parseInt(args[4]);
        runs = Long.parseLong(args[6]);
        start = Long.parseLong(args[7]);
        for (int i = 0; i < lines; i++) {
            for (String word : line(i).split(" ")) {
                counts.merge(word, 1L, Long::sum);
                long window = time(i) / StreamsApp.WINDOW.toMillis() * StreamsApp.WINDOW.toMillis();
                windows.merge(word + "@" + window, 1L, Long::sum);
            }
            for (int of = 0; of <= i % 2; of++) {
                if (Math.abs(rightTime(i, of) - time(i)) <= StreamsApp.JOIN.toMillis()) {
                    joined.add("L" + i + "+" + right(i, of));
                }
            }
        }
    }

    public static void main(String[] args) throws Exception {
        StreamsModel model = new StreamsModel(args);
        switch (args[0]) {
            case "create" -> model.create();
            case "feed" -> model.feed(Long.parseLong(args[5]));
            default -> model.verify();
        }
    }

    private static String line(int i) {
        Random random = new Random(i);
        return WORDS[random.nextInt(WORDS.length)] + " " + WORDS[random.nextInt(WORDS.length)] + " " + WORDS[random.nextInt(WORDS.length)];
    }

    private long time(int i) {
        return start + i * 20L;
    }

    private static String right(int i, int of) {
        return "R" + i + "." + of;
    }

    /** At 0, 4, 8 and 12 minutes from the left one: the last is too far away. */
    private long rightTime(int i, int of) {
        return time(i) + (i % 4 + of) * Duration.ofMinutes(4).toMillis();
    }

    private void create() throws Exception {
        try (Admin admin = Admin.create(config())) {
            List<NewTopic> topics = new ArrayList<>();
            for (String name : List.of("lines", "left", "right", "counts", "windows", "joined")) {
                topics.add(new NewTopic(application + "-" + name, PARTITIONS, (short) -1));
            }
            admin.createTopics(topics).all().get();
        }
    }

    private void feed(long milliseconds) throws Exception {
        Map<String, Object> config = config();
        config.put("acks", "all");
        config.put("linger.ms", "2");
        config.put("delivery.timeout.ms", "600000");
        config.put("reconnect.backoff.max.ms", "200");
        AtomicReference<Exception> refused = new AtomicReference<>();
        long begin = System.currentTimeMillis();
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            for (int i = 0; i < lines; i++) {
                // With a key: without one the client picks a partition at random, and lags per partition differ by run.
                send(producer, "lines", time(i), "n" + i, line(i), refused);
                send(producer, "left", time(i), "k" + i, "L" + i, refused);
                for (int of = 0; of <= i % 2; of++) {
                    send(producer, "right", rightTime(i, of), "k" + i, right(i, of), refused);
                }
                if (i == 10) {
                    producer.flush();
                    System.out.println("loading");
                }
                long due = begin + milliseconds * i / lines;
                if (due > System.currentTimeMillis()) {
                    Thread.sleep(due - System.currentTimeMillis());
                }
            }
        }
        check(refused.get() == null, "refused: " + refused);
        System.out.println("fed " + lines + " lines");
    }

    private void send(KafkaProducer<String, String> producer, String topic, long time, String key, String value, AtomicReference<Exception> refused) {
        producer.send(new ProducerRecord<>(application + "-" + topic, null, time, key, value), (metadata, error) -> {
            if (error != null) {
                refused.set(error);
            }
        });
    }

    private void verify() {
        Output output = new Output(List.of("counts", "windows", "joined"));
        output.readUntil(() -> complete(output), 180_000);
        check(complete(output), "after three minutes: " + missing(output));
        // What comes too often comes late.
        output.readUntil(() -> false, 3_000);
        int records = output.values("counts").size() + output.values("windows").size() + output.values("joined").size();
        if (exactly) {
            perKey(output.values("counts")).forEach((word, found) -> checkSequence(word, found, counts.get(word)));
            perKey(output.values("windows")).forEach((window, found) -> checkSequence(window, found, windows.get(window)));
            check(output.values("joined").size() == joined.size() * runs, "pairs: " + output.values("joined").size() + ", not " + joined.size() * runs);
        }
        output.values("joined").forEach(pair -> check(joined.contains(pair[1]), "no such pair: " + pair[1]));
        verifyChangelog();
        System.out.println("verified " + (exactly ? records + " records" : "at least what the model has"));
    }

    /** The changelog restores the table: its last value of each key is the count. */
    private void verifyChangelog() {
        Output changelog = new Output(List.of("words-changelog"));
        changelog.readUntil(() -> changelog.isAtEnd(), 30_000);
        Map<String, Long> last = new HashMap<>();
        changelog.values("words-changelog").forEach(record -> last.put(record[0], Long.parseLong(record[1])));
        counts.forEach((word, count) -> check(exactly ? count.equals(last.get(word)) : last.getOrDefault(word, 0L) >= count,
            "changelog: " + word + " is " + last.get(word) + ", not " + count));
    }

    private boolean complete(Output output) {
        if (exactly) {
            long updates = counts.values().stream().mapToLong(Long::longValue).sum() * runs;
            return output.values("counts").size() >= updates && output.values("windows").size() >= updates && output.values("joined").size() >= joined.size() * runs;
        }
        return missing(output).isEmpty();
    }

    /** What at-least-once promises: the last update of every key, every pair. */
    private String missing(Output output) {
        Map<String, Long> last = new HashMap<>();
        output.values("counts").forEach(record -> last.put(record[0], Long.parseLong(record[1])));
        output.values("windows").forEach(record -> last.put(record[0], Long.parseLong(record[1])));
        List<String> missing = new ArrayList<>();
        Map<String, Long> expected = new HashMap<>(counts);
        expected.putAll(windows);
        expected.forEach((key, count) -> {
            if (last.getOrDefault(key, 0L) < count) {
                missing.add(key + ": " + last.get(key) + " of " + count);
            }
        });
        Set<String> pairs = new HashSet<>();
        output.values("joined").forEach(record -> pairs.add(record[1]));
        joined.stream().filter(pair -> !pairs.contains(pair)).forEach(missing::add);
        if (missing.isEmpty()) {
            return "";
        }
        return missing.size() + " missing, e.g. " + missing.subList(0, Math.min(10, missing.size())) + "; records: " + output.values("counts").size()
            + " counts, " + output.values("windows").size() + " windows, " + output.values("joined").size() + " pairs";
    }

    private static Map<String, List<Long>> perKey(List<String[]> records) {
        Map<String, List<Long>> found = new HashMap<>();
        records.forEach(record -> found.computeIfAbsent(record[0], key -> new ArrayList<>()).add(Long.parseLong(record[1])));
        return found;
    }

    private void checkSequence(String key, List<Long> found, Long count) {
        check(count != null, "no such key: " + key);
        List<Long> expected = new ArrayList<>();
        for (long run = 0; run < runs; run++) {
            for (long n = 1; n <= count; n++) {
                expected.add(n);
            }
        }
        check(found.equals(expected), key + ": not 1 to " + count + ", " + runs + " times, but " + found);
    }

    private static void check(boolean right, String text) {
        if (!right) {
            throw new AssertionError(text);
        }
    }

    private Map<String, Object> config() {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        return config;
    }

    /** Everything committed in some topics of the application. */
    private final class Output {
        private final Map<String, List<String[]>> found = new HashMap<>();
        private final KafkaConsumer<byte[], byte[]> consumer;
        private final List<TopicPartition> partitions = new ArrayList<>();

        Output(List<String> topics) {
            Map<String, Object> config = config();
            config.put("isolation.level", "read_committed");
            config.put("auto.offset.reset", "earliest");
            consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
            for (String topic : topics) {
                found.put(topic, new ArrayList<>());
                for (PartitionInfo partition : consumer.partitionsFor(application + "-" + topic)) {
                    partitions.add(new TopicPartition(partition.topic(), partition.partition()));
                }
            }
            consumer.assign(partitions);
        }

        List<String[]> values(String topic) {
            return found.get(topic);
        }

        boolean isAtEnd() {
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            return partitions.stream().allMatch(partition -> consumer.position(partition) >= ends.get(partition));
        }

        void readUntil(java.util.function.BooleanSupplier isEnough, long limitMs) {
            long deadline = System.currentTimeMillis() + limitMs;
            while (!isEnough.getAsBoolean() && System.currentTimeMillis() < deadline) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(300))) {
                    String topic = record.topic().substring(application.length() + 1);
                    String value = topic.equals("joined") ? new StringDeserializer().deserialize(null, record.value())
                        : String.valueOf(new LongDeserializer().deserialize(null, record.value()));
                    found.get(topic).add(new String[] {new StringDeserializer().deserialize(null, record.key()), value});
                }
            }
        }
    }
}
