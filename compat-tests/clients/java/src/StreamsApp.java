import java.time.Duration;
import java.util.Arrays;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.StreamJoined;
import org.apache.kafka.streams.kstream.TimeWindows;

/**
 * A Kafka Streams application as its users write them: word count, a windowed count and a windowed stream-stream join.
 *
 * <p>Usage: BOOTSTRAP APPLICATION STATE-DIR GUARANTEE [KEY=VALUE..]. Reads APPLICATION-lines, -left and -right; writes APPLICATION-counts,
 * -windows and -joined. Runs until it is killed; exits with 3 when Kafka Streams gives up.
 */
public final class StreamsApp {
    static final Duration JOIN = Duration.ofMinutes(10);
    static final Duration WINDOW = Duration.ofSeconds(1);
    /** Nothing is ever too late, so that the model is independent of the order in which partitions are read. */
    static final Duration GRACE = Duration.ofHours(24);

    public static void main(String[] args) throws Exception {
        Properties config = new Properties();
        config.put("bootstrap.servers", args[0]);
        config.put("application.id", args[1]);
        config.put("state.dir", args[2]);
        config.put("processing.guarantee", args[3]);
        config.put("commit.interval.ms", "100");
        // Every update is an output: a cache would merge some of them.
        config.put("statestore.cache.max.bytes", "0");
        // A dead instance is not waited for longer than this.
        config.put("session.timeout.ms", "3000");
        config.put("heartbeat.interval.ms", "500");
        config.put("producer.transaction.timeout.ms", "5000");
        config.put("num.stream.threads", "2");
        config.put("default.key.serde", Serdes.StringSerde.class.getName());
        config.put("default.value.serde", Serdes.StringSerde.class.getName());
        for (String more : Arrays.copyOfRange(args, 4, args.length)) {
            config.put(more.substring(0, more.indexOf('=')), more.substring(more.indexOf('=') + 1));
        }
        KafkaStreams streams = new KafkaStreams(topology(args[1]).build(), config);
        CountDownLatch ended = new CountDownLatch(1);
        streams.setStateListener((state, before) -> {
            System.out.println("state " + state);
            if (state == KafkaStreams.State.ERROR) {
                ended.countDown();
            }
        });
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
        ended.await();
        System.exit(3);
    }

    private static StreamsBuilder topology(String application) {
        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, String> words = builder.<String, String>stream(application + "-lines").flatMap((key, line) ->
            Arrays.stream(line.split(" ")).map(word -> KeyValue.pair(word, "")).toList());
        words.groupByKey(Grouped.as("words")).count(Materialized.as("words"))
            .toStream().to(application + "-counts", Produced.with(Serdes.String(), Serdes.Long()));
        words.groupByKey(Grouped.as("windowed")).windowedBy(TimeWindows.ofSizeAndGrace(WINDOW, GRACE)).count(Materialized.as("windowed"))
            .toStream((window, count) -> window.key() + "@" + window.window().start())
            .to(application + "-windows", Produced.with(Serdes.String(), Serdes.Long()));
        KStream<String, String> left = builder.stream(application + "-left", Consumed.as("left"));
        KStream<String, String> right = builder.stream(application + "-right", Consumed.as("right"));
        left.join(right, (a, b) -> a + "+" + b, JoinWindows.ofTimeDifferenceAndGrace(JOIN, GRACE),
            StreamJoined.<String, String, String>as("join").withStoreName("pairs")).to(application + "-joined");
        return builder;
    }
}
