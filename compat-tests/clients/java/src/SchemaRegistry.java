import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * A schema registry as they are built on Kafka: all state is in one compacted partition. A write is acks=all, and is answered when it has been
 * read back at the very offset that was acknowledged; at the start everything is read again up to the end.
 *
 * <p>Usage: BOOTSTRAP TOPIC PORT. Serves what clients of Confluent's registry need: POST /subjects/S/versions, POST /subjects/S, GET /schemas/ids/N,
 * and GET /state (how many schemas, versions and deletions it has read). Prints "serving" when it is up. DELETE /subjects/S writes tombstones.
 */
public final class SchemaRegistry {
    private static final ObjectMapper JSON = new ObjectMapper();

    private final String bootstrap;
    private final TopicPartition log;
    private final KafkaProducer<String, String> producer;
    /** Key to value, as the log has them; guarded by this. */
    private final Map<String, String> state = new HashMap<>();
    private long readUpTo;
    private String brokenBy;

    private SchemaRegistry(String[] args) throws Exception {
        bootstrap = args[0];
        log = new TopicPartition(args[1], 0);
        createTopic();
        Map<String, Object> config = config();
        config.put("acks", "all");
        config.put("delivery.timeout.ms", "60000");
        config.put("reconnect.backoff.max.ms", "200");
        producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer());
        Thread reader = new Thread(this::read);
        reader.setDaemon(true);
        reader.start();
        awaitOffset(end());
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[2])), 0);
        server.setExecutor(Executors.newFixedThreadPool(4));
        server.createContext("/", this::serve);
        server.start();
        System.out.println("serving");
    }

    public static void main(String[] args) throws Exception {
        new SchemaRegistry(args);
    }

    private void createTopic() throws Exception {
        try (Admin admin = Admin.create(config())) {
            NewTopic topic = new NewTopic(log.topic(), 1, (short) 1);
            topic.configs(Map.of("cleanup.policy", "compact", "segment.ms", "1000", "min.cleanable.dirty.ratio", "0.01", "delete.retention.ms", "100"));
            try {
                admin.createTopics(List.of(topic)).all().get();
            } catch (ExecutionException error) {
                if (!(error.getCause() instanceof TopicExistsException)) {
                    throw error;
                }
            }
            ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, log.topic());
            String policy = admin.describeConfigs(List.of(resource)).all().get().get(resource).get("cleanup.policy").value();
            if (!policy.equals("compact")) {
                throw new IllegalStateException("the topic is not compacted but " + policy);
            }
        }
    }

    private long end() {
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(config(), new StringDeserializer(), new StringDeserializer())) {
            return consumer.endOffsets(List.of(log)).get(log);
        }
    }

    private void read() {
        Map<String, Object> config = config();
        config.put("auto.offset.reset", "none");
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer())) {
            consumer.assign(List.of(log));
            consumer.seekToBeginning(List.of(log));
            while (true) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(100))) {
                    apply(record);
                }
                synchronized (this) {
                    readUpTo = Math.max(readUpTo, consumer.position(log));
                    notifyAll();
                }
            }
        } catch (RuntimeException error) {
            synchronized (this) {
                brokenBy = error.toString();
                notifyAll();
            }
        }
    }

    private synchronized void apply(ConsumerRecord<String, String> record) {
        if (record.offset() < readUpTo) {
            brokenBy = "offset " + record.offset() + " after " + readUpTo;
        }
        if (record.value() == null) {
            state.remove(record.key());
        } else {
            state.put(record.key(), record.value());
        }
        readUpTo = record.offset() + 1;
    }

    /** Until everything before the offset has been read back. */
    private synchronized void awaitOffset(long offset) throws InterruptedException {
        long deadline = System.currentTimeMillis() + 60_000;
        while (readUpTo < offset && brokenBy == null) {
            if (System.currentTimeMillis() > deadline) {
                throw new IllegalStateException("read up to " + readUpTo + " only, not " + offset);
            }
            wait(100);
        }
        if (brokenBy != null) {
            throw new IllegalStateException(brokenBy);
        }
    }

    private void write(String key, String value) throws Exception {
        RecordMetadata written = producer.send(new ProducerRecord<>(log.topic(), 0, key, value)).get();
        awaitOffset(written.offset() + 1);
        synchronized (this) {
            String found = state.get(key);
            if (!java.util.Objects.equals(found, value)) {
                throw new IllegalStateException("wrote " + value + " at " + written.offset() + ", read " + found);
            }
        }
    }

    private void serve(HttpExchange exchange) throws IOException {
        int status = 200;
        String answer;
        try {
            String[] path = exchange.getRequestURI().getPath().substring(1).split("/");
            String body = new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.UTF_8);
            answer = answer(exchange.getRequestMethod(), path, body);
            status = answer == null ? 404 : 200;
        } catch (Exception error) {
            error.printStackTrace();
            status = 500;
            answer = JSON.createObjectNode().put("error_code", 50001).put("message", error.toString()).toString();
        }
        byte[] bytes = (answer == null ? "{\"error_code\":40403,\"message\":\"not found\"}" : answer).getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().add("Content-Type", "application/vnd.schemaregistry.v1+json");
        exchange.sendResponseHeaders(status, bytes.length);
        exchange.getResponseBody().write(bytes);
        exchange.close();
    }

    private synchronized String answer(String method, String[] path, String body) throws Exception {
        if (path[0].equals("state")) {
            long schemas = state.keySet().stream().filter(key -> key.startsWith("schema/")).count();
            return JSON.createObjectNode().put("schemas", schemas).put("versions", state.size() - schemas).put("read", readUpTo).toString();
        }
        if (path[0].equals("schemas")) {
            String schema = state.get("schema/" + path[2]);
            return schema == null ? null : JSON.createObjectNode().put("schema", schema).put("schemaType", "AVRO").toString();
        }
        if (!path[0].equals("subjects") || method.equals("GET")) {
            // What newer registries have besides: clients do without.
            return null;
        }
        String subject = path[1];
        if (method.equals("DELETE")) {
            for (String key : List.copyOf(state.keySet())) {
                if (key.startsWith("subject/" + subject + "/")) {
                    write(key, null);
                }
            }
            return "[1]";
        }
        JsonNode asked = JSON.readTree(body);
        String schema = asked.get("schema").asText();
        int id = 1;
        while (state.containsKey("schema/" + id) && !state.get("schema/" + id).equals(schema)) {
            id++;
        }
        boolean registers = path.length == 3;
        if (!state.containsKey("schema/" + id)) {
            if (!registers) {
                return null;
            }
            write("schema/" + id, schema);
        }
        int version = 1;
        while (state.containsKey("subject/" + subject + "/" + version) && !state.get("subject/" + subject + "/" + version).equals("" + id)) {
            version++;
        }
        if (registers) {
            // Written again even if it is known: so that there is something to compact.
            write("subject/" + subject + "/" + version, "" + id);
        }
        ObjectNode answer = JSON.createObjectNode().put("id", id).put("subject", subject).put("version", version).put("schema", schema);
        return answer.toString();
    }

    private Map<String, Object> config() {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        return config;
    }
}
