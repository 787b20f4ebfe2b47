import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.zip.CRC32;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** What an application does with the Java client. Usage: STORY BOOTSTRAP PREFIX; prints the same lines for every right broker. */
public final class ClientStories {
    private static final long START_MS = 1_700_000_000_000L;
    private final String bootstrap;
    private final String prefix;

    private ClientStories(String bootstrap, String prefix) {
        this.bootstrap = bootstrap;
        this.prefix = prefix;
    }

    public static void main(String[] args) throws Exception {
        ClientStories stories = new ClientStories(args[1], args[2]);
        switch (args[0]) {
            case "codecs" -> stories.codecs();
            case "group" -> stories.group("classic");
            case "group848" -> stories.group("consumer");
            case "cooperative" -> stories.group("cooperative");
            case "positions" -> stories.positions();
            case "admin" -> stories.administer();
            case "transactions" -> stories.transactions();
            default -> throw new IllegalArgumentException(args[0]);
        }
    }

    /** A producer without acknowledgements is done when the broker has its records, not when it has sent them. */
    private void settle(String topic, long end) throws Exception {
        TopicPartition partition = new TopicPartition(topic, 0);
        try (KafkaConsumer<String, String> consumer = consumer(Map.of())) {
            while (consumer.endOffsets(List.of(partition)).get(partition) != end) {
                Thread.sleep(20);
            }
        }
    }

    private void codecs() throws Exception {
        String topic = create("codecs", 1);
        int sent = 0;
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            for (String acks : List.of("0", "1", "all")) {
                try (KafkaProducer<String, String> producer = producer(Map.of("compression.type", codec, "acks", acks,
                        "enable.idempotence", String.valueOf(acks.equals("all")), "linger.ms", "20"))) {
                    List<Future<RecordMetadata>> answers = new ArrayList<>();
                    for (int i = 0; i < 20; i++, sent++) {
                        ProducerRecord<String, String> record = new ProducerRecord<>(topic, 0, START_MS + sent, i % 5 == 0 ? null : "key-" + i,
                            i % 7 == 0 ? null : codec + " value ".repeat(i));
                        record.headers().add(new RecordHeader("twice", bytes("a" + i))).add(new RecordHeader("twice", bytes("b")));
                        record.headers().add(new RecordHeader("none", null));
                        answers.add(producer.send(record));
                    }
                    producer.flush();
                    long last = 0;
                    for (Future<RecordMetadata> answer : answers) {
                        last = answer.get().offset();
                    }
                    System.out.println(codec + " acks=" + acks + " last offset " + last);
                }
                settle(topic, sent);
            }
        }
        CRC32 sum = new CRC32();
        int seen = 0;
        try (KafkaConsumer<String, String> consumer = consumer(Map.of())) {
            consumer.assign(List.of(new TopicPartition(topic, 0)));
            consumer.seekToBeginning(consumer.assignment());
            while (seen < sent) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(500))) {
                    StringBuilder line = new StringBuilder().append(record.offset()).append(record.key()).append(record.value()).append(record.timestamp());
                    record.headers().forEach(header -> line.append(header.key()).append(header.value() == null ? "null" : new String(header.value())));
                    sum.update(bytes(line.toString()));
                    seen++;
                }
            }
        }
        System.out.println("consumed " + seen + " checksum " + Long.toHexString(sum.getValue()));
    }

    private void group(String kind) throws Exception {
        String topic = create("group-" + kind, 4);
        String group = prefix + "-group-" + kind;
        Map<String, String> config = switch (kind) {
            case "consumer" -> Map.of("group.id", group, "group.protocol", "consumer");
            case "cooperative" -> Map.of("group.id", group, "partition.assignment.strategy",
                "org.apache.kafka.clients.consumer.CooperativeStickyAssignor", "heartbeat.interval.ms", "300");
            default -> Map.of("group.id", group, "heartbeat.interval.ms", "300");
        };
        KafkaConsumer<String, String> first = consumer(config);
        first.subscribe(List.of(topic));
        List<String> values = new ArrayList<>();
        settle(values, Map.of(first, 4));
        System.out.println("one member owns " + first.assignment().size());
        KafkaConsumer<String, String> second = consumer(config);
        second.subscribe(List.of(topic));
        settle(values, Map.of(first, 2, second, 2));
        System.out.println("two members own 2 and 2");
        produce(topic, 4, 40);
        long deadline = System.currentTimeMillis() + 60_000;
        while (values.size() < 40 && System.currentTimeMillis() < deadline) {
            take(first, values);
            take(second, values);
        }
        System.out.println("consumed " + values.size() + " distinct " + Set.copyOf(values).size());
        first.commitSync();
        second.commitSync();
        second.close();
        settle(values, Map.of(first, 4));
        System.out.println("after the second left, the first owns 4");
        produce(topic, 4, 8);
        while (values.size() < 48 && System.currentTimeMillis() < deadline) {
            take(first, values);
        }
        first.commitSync();
        System.out.println("consumed " + values.size());
        first.close();
        try (Admin admin = admin()) {
            long total = 0;
            for (OffsetAndMetadata offset : admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().values()) {
                total += offset.offset();
            }
            System.out.println("committed in all " + total);
            System.out.println("state " + admin.describeConsumerGroups(List.of(group)).all().get().get(group).groupState());
        }
    }

    /** Polls every member until each owns as many partitions as wanted. */
    private static void settle(List<String> values, Map<KafkaConsumer<String, String>, Integer> wanted) {
        long deadline = System.currentTimeMillis() + 60_000;
        while (System.currentTimeMillis() < deadline) {
            boolean settled = true;
            for (Map.Entry<KafkaConsumer<String, String>, Integer> member : wanted.entrySet()) {
                take(member.getKey(), values);
                settled &= member.getKey().assignment().size() == member.getValue();
            }
            if (settled) {
                return;
            }
        }
        throw new IllegalStateException("the group did not settle");
    }

    private static void take(KafkaConsumer<String, String> consumer, Collection<String> into) {
        consumer.poll(Duration.ofMillis(100)).forEach(record -> into.add(record.partition() + "@" + record.offset()));
    }

    private void positions() throws Exception {
        String topic = create("positions", 1);
        TopicPartition partition = new TopicPartition(topic, 0);
        produce(topic, 1, 30);
        try (KafkaConsumer<String, String> consumer = consumer(Map.of("group.id", prefix + "-positions", "max.poll.records", "1"))) {
            consumer.assign(List.of(partition));
            System.out.println("committed before " + consumer.committed(Set.of(partition)).get(partition));
            consumer.seek(partition, 10);
            System.out.println("at 10: " + one(consumer));
            consumer.seekToBeginning(List.of(partition));
            System.out.println("at the beginning: " + one(consumer));
            System.out.println("lag " + consumer.currentLag(partition).isPresent());
            consumer.seekToEnd(List.of(partition));
            System.out.println("position at the end " + consumer.position(partition));
            System.out.println("for a time " + consumer.offsetsForTimes(Map.of(partition, START_MS + 20_500)).get(partition).offset());
            System.out.println("for a late time " + consumer.offsetsForTimes(Map.of(partition, START_MS + 99_999_000)).get(partition));
            System.out.println("beginning " + consumer.beginningOffsets(List.of(partition)) + " end " + consumer.endOffsets(List.of(partition)));
            consumer.commitSync(Map.of(partition, new OffsetAndMetadata(15, Optional.of(0), "a note")));
            OffsetAndMetadata committed = consumer.committed(Set.of(partition)).get(partition);
            System.out.println("committed " + committed.offset() + " " + committed.metadata() + " lag " + (30 - committed.offset()));
            consumer.seek(partition, 1000);
            System.out.println("out of range falls back to " + one(consumer));
        }
        try (Admin admin = admin()) {
            for (OffsetSpec spec : List.of(OffsetSpec.earliest(), OffsetSpec.latest(), OffsetSpec.maxTimestamp(), OffsetSpec.forTimestamp(START_MS + 5000))) {
                System.out.println(spec.getClass().getSimpleName() + " " + admin.listOffsets(Map.of(partition, spec)).partitionResult(partition).get().offset());
            }
        }
    }

    private static String one(KafkaConsumer<String, String> consumer) {
        long deadline = System.currentTimeMillis() + 20_000;
        while (System.currentTimeMillis() < deadline) {
            for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) {
                return record.offset() + " " + record.value();
            }
        }
        return "nothing";
    }

    private void administer() throws Exception {
        String topic = prefix + "-admin";
        try (Admin admin = admin()) {
            admin.createTopics(List.of(new NewTopic(topic, 3, (short) 1).configs(Map.of("retention.ms", "60000")))).all().get();
            attempt("create again", () -> admin.createTopics(List.of(new NewTopic(topic, 3, (short) 1))).all().get());
            System.out.println("listed " + admin.listTopics().names().get().contains(topic));
            System.out.println("partitions " + admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size());
            ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
            System.out.println("retention " + admin.describeConfigs(List.of(resource)).all().get().get(resource).get("retention.ms").value());
            admin.incrementalAlterConfigs(Map.of(resource, List.of(new AlterConfigOp(new ConfigEntry("retention.ms", "120000"), AlterConfigOp.OpType.SET)))).all().get();
            // A broker may learn of the change a moment after it was made.
            Thread.sleep(1000);
            ConfigEntry entry = admin.describeConfigs(List.of(resource)).all().get().get(resource).get("retention.ms");
            System.out.println("retention " + entry.value() + " " + entry.source() + " default " + entry.isDefault());
            admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(5))).all().get();
            attempt("shrink", () -> admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(2))).all().get());
            Thread.sleep(1000);
            System.out.println("partitions " + admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size());
            produce(topic, 1, 10);
            TopicPartition partition = new TopicPartition(topic, 0);
            System.out.println("low watermark " + admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(5))).lowWatermarks().get(partition).get().lowWatermark());
            attempt("delete beyond the end", () -> admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(500))).all().get());
            String group = prefix + "-admin-group";
            admin.alterConsumerGroupOffsets(group, Map.of(partition, new OffsetAndMetadata(7))).all().get();
            System.out.println("group " + admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(partition).offset());
            System.out.println("listed " + admin.listGroups().all().get().stream().anyMatch(listing -> listing.groupId().equals(group)));
            admin.deleteConsumerGroups(List.of(group)).all().get();
            attempt("delete the group again", () -> admin.deleteConsumerGroups(List.of(group)).all().get());
            System.out.println("nodes " + admin.describeCluster().nodes().get().size() + " controller " + admin.describeCluster().controller().get().id());
            System.out.println("log dirs " + admin.describeLogDirs(List.of(1)).allDescriptions().get().get(1).size());
            System.out.println("features " + admin.describeFeatures().featureMetadata().get().finalizedFeatures().get("metadata.version"));
            AclBinding acl = new AclBinding(new ResourcePattern(ResourceType.TOPIC, topic, PatternType.LITERAL),
                new AccessControlEntry("User:somebody", "*", AclOperation.READ, AclPermissionType.ALLOW));
            attempt("describe acls", () -> admin.describeAcls(AclBindingFilter.ANY).values().get());
            attempt("create acls", () -> admin.createAcls(List.of(acl)).all().get());
            attempt("delete acls", () -> admin.deleteAcls(List.of(acl.toFilter())).all().get());
            admin.deleteTopics(List.of(topic)).all().get();
            attempt("describe the deleted", () -> admin.describeTopics(List.of(topic)).allTopicNames().get());
        }
    }

    private interface Step {
        void run() throws Exception;
    }

    private static void attempt(String title, Step step) throws Exception {
        try {
            step.run();
            System.out.println(title + ": no error");
        } catch (ExecutionException refused) {
            System.out.println(title + ": " + refused.getCause().getClass().getSimpleName() + ": " + refused.getCause().getMessage());
        }
    }

    private void transactions() throws Exception {
        String topic = create("txn", 2);
        String input = create("txn-input", 1);
        produce(input, 1, 3);
        TopicPartition source = new TopicPartition(input, 0);
        try (KafkaProducer<String, String> producer = producer(Map.of("transactional.id", prefix + "-txn", "acks", "all"));
             KafkaConsumer<String, String> consumer = consumer(Map.of("group.id", prefix + "-txn-group"))) {
            producer.initTransactions();
            for (int round = 0; round < 4; round++) {
                producer.beginTransaction();
                for (int i = 0; i < 3; i++) {
                    producer.send(new ProducerRecord<>(topic, i % 2, null, "round " + round + " record " + i)).get();
                }
                if (round % 2 == 0) {
                    consumer.assign(List.of(source));
                    producer.sendOffsetsToTransaction(Map.of(source, new OffsetAndMetadata(round + 1)), consumer.groupMetadata());
                    producer.commitTransaction();
                } else {
                    producer.sendOffsetsToTransaction(Map.of(source, new OffsetAndMetadata(99)), consumer.groupMetadata());
                    producer.abortTransaction();
                }
            }
            System.out.println("offset of the group " + consumer.committed(Set.of(source)).get(source).offset());
            KafkaProducer<String, String> successor = producer(Map.of("transactional.id", prefix + "-txn", "acks", "all"));
            successor.initTransactions();
            try {
                producer.beginTransaction();
                producer.send(new ProducerRecord<>(topic, 0, null, "fenced")).get();
                producer.commitTransaction();
                System.out.println("not fenced");
            } catch (Exception fenced) {
                Throwable cause = fenced instanceof ExecutionException ? fenced.getCause() : fenced;
                // Which of the two depends on the version of the transaction protocol.
                boolean known = cause instanceof ProducerFencedException || cause instanceof InvalidProducerEpochException;
                System.out.println("the first is " + (known ? "fenced" : cause));
            }
            successor.close();
        }
        for (String isolation : List.of("read_committed", "read_uncommitted")) {
            try (KafkaConsumer<String, String> consumer = consumer(Map.of("isolation.level", isolation))) {
                List<TopicPartition> both = List.of(new TopicPartition(topic, 0), new TopicPartition(topic, 1));
                consumer.assign(both);
                consumer.seekToBeginning(both);
                Map<TopicPartition, Long> ends = consumer.endOffsets(both);
                TreeMap<String, String> found = new TreeMap<>();
                while (both.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition))) {
                    consumer.poll(Duration.ofMillis(200)).forEach(record -> found.put(record.partition() + "@" + record.offset(), record.value()));
                }
                System.out.println(isolation + " " + found);
            }
        }
    }

    private String create(String name, int partitions) throws Exception {
        String topic = prefix + "-" + name;
        try (Admin admin = admin()) {
            admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1))).all().get();
        }
        return topic;
    }

    private void produce(String topic, int partitions, int count) throws Exception {
        try (KafkaProducer<String, String> producer = producer(Map.of())) {
            for (int i = 0; i < count; i++) {
                producer.send(new ProducerRecord<>(topic, i % partitions, START_MS + i * 1000L, "k" + i, "value " + i));
            }
        }
    }

    private Admin admin() {
        return Admin.create(config(Map.of()));
    }

    private KafkaProducer<String, String> producer(Map<String, String> more) {
        return new KafkaProducer<>(config(more), new StringSerializer(), new StringSerializer());
    }

    private KafkaConsumer<String, String> consumer(Map<String, String> more) {
        Map<String, Object> config = config(more);
        config.put("auto.offset.reset", "earliest");
        config.put("enable.auto.commit", "false");
        return new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer());
    }

    private Map<String, Object> config(Map<String, String> more) {
        Map<String, Object> config = new HashMap<>(more);
        config.put("bootstrap.servers", bootstrap);
        return config;
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
