import java.nio.ByteBuffer;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.Optional;
import java.util.TreeMap;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicIdPartition;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.metadata.AccessControlEntryRecord;
import org.apache.kafka.common.metadata.BrokerRegistrationChangeRecord;
import org.apache.kafka.common.metadata.ClientQuotaRecord;
import org.apache.kafka.common.metadata.ConfigRecord;
import org.apache.kafka.common.metadata.DelegationTokenRecord;
import org.apache.kafka.common.metadata.NoOpRecord;
import org.apache.kafka.common.metadata.PartitionChangeRecord;
import org.apache.kafka.common.metadata.PartitionRecord;
import org.apache.kafka.common.metadata.RegisterBrokerRecord;
import org.apache.kafka.common.metadata.UserScramCredentialRecord;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.coordinator.common.runtime.CoordinatorRecord;
import org.apache.kafka.coordinator.common.runtime.CoordinatorRecordSerde;
import org.apache.kafka.coordinator.group.GroupCoordinatorRecordSerde;
import org.apache.kafka.coordinator.group.generated.ConsumerGroupCurrentMemberAssignmentKey;
import org.apache.kafka.coordinator.group.generated.ConsumerGroupCurrentMemberAssignmentValue;
import org.apache.kafka.coordinator.group.generated.ConsumerGroupMemberMetadataKey;
import org.apache.kafka.coordinator.group.generated.ConsumerGroupMemberMetadataValue;
import org.apache.kafka.coordinator.group.generated.ConsumerGroupRegularExpressionKey;
import org.apache.kafka.coordinator.group.generated.ConsumerGroupRegularExpressionValue;
import org.apache.kafka.coordinator.group.generated.GroupMetadataKey;
import org.apache.kafka.coordinator.group.generated.GroupMetadataValue;
import org.apache.kafka.coordinator.group.generated.OffsetCommitKey;
import org.apache.kafka.coordinator.group.generated.OffsetCommitValue;
import org.apache.kafka.coordinator.group.generated.StreamsGroupMemberMetadataKey;
import org.apache.kafka.coordinator.group.generated.StreamsGroupMemberMetadataValue;
import org.apache.kafka.coordinator.group.generated.StreamsGroupTopologyKey;
import org.apache.kafka.coordinator.group.generated.StreamsGroupTopologyValue;
import org.apache.kafka.coordinator.share.ShareCoordinatorRecordSerde;
import org.apache.kafka.coordinator.share.generated.ShareSnapshotKey;
import org.apache.kafka.coordinator.share.generated.ShareSnapshotValue;
import org.apache.kafka.coordinator.share.generated.ShareUpdateKey;
import org.apache.kafka.coordinator.share.generated.ShareUpdateValue;
import org.apache.kafka.metadata.MetadataRecordSerde;
import org.apache.kafka.server.common.ApiMessageAndVersion;
import org.apache.kafka.server.log.remote.metadata.storage.serialization.RemoteLogMetadataSerde;
import org.apache.kafka.server.log.remote.storage.RemoteLogSegmentId;
import org.apache.kafka.server.log.remote.storage.RemoteLogSegmentMetadata;
import org.apache.kafka.server.log.remote.storage.RemoteLogSegmentMetadata.CustomMetadata;
import org.apache.kafka.server.log.remote.storage.RemoteLogSegmentMetadataUpdate;
import org.apache.kafka.server.log.remote.storage.RemoteLogSegmentState;
import org.apache.kafka.server.log.remote.storage.RemotePartitionDeleteMetadata;
import org.apache.kafka.server.log.remote.storage.RemotePartitionDeleteState;

/**
 * Records of the internal topics that no story here makes a broker write, each kind in an ordinary topic, so that kafka-dump-log
 * can be asked for them.
 *
 * <p>Usage: BOOTSTRAP PREFIX. Fills PREFIX-metadata, -remote, -share, -groups, -numbers, -bare, and in transactions -transactions-x
 * and -transactions-y.
 */
public final class SpecialRecords {
    private static final Uuid ID = new Uuid(0x0123456789abcdefL, 0xfedcba9876543210L);

    public static void main(String[] args) throws Exception {
        Map<String, Object> config = Map.of("bootstrap.servers", args[0]);
        String prefix = args[1];
        List<String> names = List.of(
            "metadata", "remote", "share", "groups", "numbers", "bare", "transactions-x", "transactions-y");
        try (Admin admin = Admin.create(config)) {
            admin.createTopics(names.stream().map(name -> new NewTopic(prefix + "-" + name, 1, (short) 1)).toList()).all().get();
        }
        try (KafkaProducer<byte[], byte[]> producer =
                new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (ApiMessageAndVersion record : metadata()) {
                producer.send(new ProducerRecord<>(prefix + "-metadata", null, framed(record))).get();
            }
            // Of an unknown frame, of an unknown type, of a version of the future, with something behind it, and nothing at all.
            for (byte[] wrong : List.of(new byte[] {118, 0}, new byte[] {0, 1}, new byte[] {1, 99, 0}, new byte[] {1, 20, 0, 0, 7})) {
                producer.send(new ProducerRecord<>(prefix + "-metadata", null, wrong)).get();
            }
            for (byte[] record : remote()) {
                producer.send(new ProducerRecord<>(prefix + "-remote", null, record)).get();
            }
            producer.send(new ProducerRecord<>(prefix + "-remote", null, new byte[] {1, 50, 0})).get();
            send(producer, prefix + "-share", new ShareCoordinatorRecordSerde(), share());
            send(producer, prefix + "-groups", new GroupCoordinatorRecordSerde(), groups());
            byte[] unknown = ByteBuffer.allocate(4).putShort((short) 99).array();
            producer.send(new ProducerRecord<>(prefix + "-groups", unknown, unknown)).get();
            producer.send(new ProducerRecord<>(prefix + "-groups", new byte[] {1}, unknown)).get();
            for (int number : List.of(0, 1, -1, Integer.MAX_VALUE)) {
                byte[] key = ByteBuffer.allocate(4).putInt(number).array();
                byte[] value = ByteBuffer.allocate(8).putLong(number * 10_000_000_000L).array();
                producer.send(new ProducerRecord<>(prefix + "-numbers", key, value)).get();
            }
            producer.send(new ProducerRecord<>(prefix + "-bare", null, "nothing but a value".getBytes())).get();
        }
        transactions(args[0], prefix);
        System.out.println("written");
    }

    /** Transactions that commit, with offsets and without, and that abort, of two ids. */
    private static void transactions(String bootstrap, String prefix) {
        for (String id : List.of(prefix + "-a", prefix + "-b")) {
            Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "transactional.id", id);
            try (KafkaProducer<byte[], byte[]> producer =
                    new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
                producer.initTransactions();
                for (int round = 0; round < 6; round++) {
                    producer.beginTransaction();
                    for (String topic : List.of(prefix + "-transactions-x", prefix + "-transactions-y")) {
                        producer.send(new ProducerRecord<>(topic, new byte[] {(byte) round}, id.getBytes()));
                    }
                    if (round % 2 == 0) {
                        producer.sendOffsetsToTransaction(
                            Map.of(new TopicPartition(prefix + "-bare", 0), new OffsetAndMetadata(round, "in " + id)),
                            new ConsumerGroupMetadata(prefix + "-g"));
                    }
                    if (round % 3 == 2) {
                        producer.abortTransaction();
                    } else {
                        producer.commitTransaction();
                    }
                }
            }
        }
    }

    private static byte[] framed(ApiMessageAndVersion record) {
        MetadataRecordSerde serde = new MetadataRecordSerde();
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ByteBuffer buffer = ByteBuffer.allocate(serde.recordSize(record, cache));
        serde.write(record, cache, new ByteBufferAccessor(buffer));
        return buffer.array();
    }

    private static List<ApiMessageAndVersion> metadata() {
        RegisterBrokerRecord broker = new RegisterBrokerRecord().setBrokerId(7).setIncarnationId(ID).setRack("a \"rack\"\n\u0001é");
        broker.endPoints().add(new RegisterBrokerRecord.BrokerEndpoint().setName("PLAINTEXT").setHost("h").setPort(65535));
        broker.features().add(new RegisterBrokerRecord.BrokerFeature().setName("f").setMaxSupportedVersion((short) 3));
        ClientQuotaRecord quota = new ClientQuotaRecord().setKey("producer_byte_rate").setValue(1234567.5);
        quota.entity().add(new ClientQuotaRecord.EntityData().setEntityType("user").setEntityName(null));
        return List.of(
            new ApiMessageAndVersion(broker, (short) 0),
            new ApiMessageAndVersion(broker.duplicate().setLogDirs(List.of(ID)), (short) 3),
            new ApiMessageAndVersion(
                new PartitionRecord().setTopicId(ID).setReplicas(List.of(1, 2)).setIsr(List.of(1)).setLeader(1).setLeaderEpoch(4)
                    .setDirectories(List.of(ID, Uuid.ZERO_UUID)).setEligibleLeaderReplicas(List.of(2)),
                (short) 2),
            new ApiMessageAndVersion(new PartitionChangeRecord().setPartitionId(3).setTopicId(ID).setIsr(List.of()), (short) 0),
            new ApiMessageAndVersion(new PartitionChangeRecord().setLeader(9).setLeaderRecoveryState((byte) 1), (short) 1),
            new ApiMessageAndVersion(new BrokerRegistrationChangeRecord().setBrokerId(1).setFenced((byte) 1), (short) 0),
            new ApiMessageAndVersion(new ConfigRecord().setResourceType((byte) 2).setName("a").setValue(null), (short) 0),
            new ApiMessageAndVersion(quota, (short) 0),
            new ApiMessageAndVersion(quota.duplicate().setValue(1e-5).setRemove(true), (short) 0),
            new ApiMessageAndVersion(
                new UserScramCredentialRecord().setName("alice").setMechanism((byte) 1).setSalt(new byte[] {0, 1, 2, 3})
                    .setStoredKey(new byte[] {-1}).setServerKey(new byte[0]).setIterations(4096),
                (short) 0),
            new ApiMessageAndVersion(new AccessControlEntryRecord().setId(ID).setPrincipal("User:a").setHost("*"), (short) 0),
            new ApiMessageAndVersion(new DelegationTokenRecord().setOwner("o").setRenewers(List.of("r", "s")), (short) 0),
            new ApiMessageAndVersion(new NoOpRecord(), (short) 0));
    }

    private static List<byte[]> remote() {
        RemoteLogMetadataSerde serde = new RemoteLogMetadataSerde();
        TopicIdPartition partition = new TopicIdPartition(ID, new TopicPartition("orders", 3));
        RemoteLogSegmentId segment = new RemoteLogSegmentId(partition, new Uuid(1, 2));
        NavigableMap<Integer, Long> epochs = new TreeMap<>(Map.of(0, 0L, 10, 40L, 9, 30L));
        return List.of(
            serde.serialize(new RemoteLogSegmentMetadata(segment, 0, 99, 1000, 1, 2000, 12345, epochs)),
            serde.serialize(new RemoteLogSegmentMetadata(segment, 0, 99, 1000, 1, 2000, 12345,
                Optional.of(new CustomMetadata(new byte[] {1, 2, 3})), RemoteLogSegmentState.COPY_SEGMENT_FINISHED, epochs, true)),
            serde.serialize(new RemoteLogSegmentMetadataUpdate(
                segment, 3000, Optional.empty(), RemoteLogSegmentState.DELETE_SEGMENT_STARTED, 1)),
            serde.serialize(new RemotePartitionDeleteMetadata(
                partition, RemotePartitionDeleteState.DELETE_PARTITION_MARKED, 4000, 1)));
    }

    private static List<CoordinatorRecord> share() {
        ShareSnapshotValue snapshot = new ShareSnapshotValue().setSnapshotEpoch(1).setStartOffset(5).setWriteTimestamp(9);
        snapshot.stateBatches().add(new ShareSnapshotValue.StateBatch().setFirstOffset(5).setLastOffset(7).setDeliveryCount((short) 2));
        ShareUpdateValue update = new ShareUpdateValue().setLeaderEpoch(2).setDeliveryCompleteCount(4);
        ShareSnapshotKey key = new ShareSnapshotKey().setGroupId("g").setTopicId(ID).setPartition(1);
        return List.of(
            record(key, snapshot, 0),
            record(new ShareUpdateKey().setGroupId("g").setTopicId(ID).setPartition(1), update, 0),
            CoordinatorRecord.tombstone(key));
    }

    private static List<CoordinatorRecord> groups() {
        OffsetCommitKey offset = new OffsetCommitKey().setGroup("g").setTopic("t").setPartition(3);
        OffsetCommitValue committed = new OffsetCommitValue().setOffset(5).setMetadata("m").setCommitTimestamp(7);
        GroupMetadataValue.MemberMetadata member = new GroupMetadataValue.MemberMetadata().setMemberId("m").setClientId("c")
            .setClientHost("/h").setSubscription(new byte[] {0, 1}).setAssignment(new byte[] {9, 9, 9});
        GroupMetadataValue group = new GroupMetadataValue().setProtocolType("consumer").setProtocol(null).setLeader(null)
            .setGeneration(2).setMembers(List.of(member));
        ConsumerGroupMemberMetadataValue.ClassicMemberMetadata classic =
            new ConsumerGroupMemberMetadataValue.ClassicMemberMetadata().setSessionTimeoutMs(5);
        classic.supportedProtocols().add(
            new ConsumerGroupMemberMetadataValue.ClassicProtocol().setName("range").setMetadata(new byte[] {1, 2}));
        ConsumerGroupMemberMetadataValue metadata = new ConsumerGroupMemberMetadataValue().setClientId("c").setClientHost("/h")
            .setSubscribedTopicNames(List.of("a", "b")).setServerAssignor(null).setInstanceId("i");
        ConsumerGroupCurrentMemberAssignmentValue assignment = new ConsumerGroupCurrentMemberAssignmentValue().setMemberEpoch(3);
        assignment.assignedPartitions().add(
            new ConsumerGroupCurrentMemberAssignmentValue.TopicPartitions().setTopicId(ID).setPartitions(List.of(0, 2)));
        StreamsGroupMemberMetadataValue streams = new StreamsGroupMemberMetadataValue().setClientId("c").setClientHost("h")
            .setProcessId("p").setUserEndpoint(new StreamsGroupMemberMetadataValue.Endpoint().setHost("h").setPort(1));
        StreamsGroupTopologyValue topology = new StreamsGroupTopologyValue().setEpoch(1);
        topology.subtopologies().add(
            new StreamsGroupTopologyValue.Subtopology().setSubtopologyId("0").setSourceTopics(List.of("in")));
        return List.of(
            record(offset, committed, 0),
            record(offset, committed.duplicate().setExpireTimestamp(11), 1),
            record(offset, committed, 3),
            record(offset, committed.duplicate().setTopicId(ID).setLeaderEpoch(4), 4),
            CoordinatorRecord.tombstone(offset),
            record(new GroupMetadataKey().setGroup("g"), group, 0),
            record(new GroupMetadataKey().setGroup("g"), group, 3),
            record(new GroupMetadataKey().setGroup("connect"), group.duplicate().setProtocolType("connect"), 4),
            record(new ConsumerGroupMemberMetadataKey().setGroupId("g").setMemberId("m"), metadata, 0),
            record(new ConsumerGroupMemberMetadataKey().setGroupId("g").setMemberId("m"),
                metadata.duplicate().setClassicMemberMetadata(classic), 0),
            record(new ConsumerGroupMemberMetadataKey().setGroupId("g").setMemberId("m"),
                metadata.duplicate().setClassicMemberMetadata(null), 0),
            record(new ConsumerGroupCurrentMemberAssignmentKey().setGroupId("g").setMemberId("m"), assignment, 0),
            record(new ConsumerGroupRegularExpressionKey().setGroupId("g").setRegularExpression("a.*"),
                new ConsumerGroupRegularExpressionValue().setTopics(List.of("a")).setVersion(1), 0),
            record(new StreamsGroupMemberMetadataKey().setGroupId("s").setMemberId("m"), streams, 0),
            record(new StreamsGroupTopologyKey().setGroupId("s"), topology, 0));
    }

    private static CoordinatorRecord record(ApiMessage key, ApiMessage value, int version) {
        return CoordinatorRecord.record(key, new ApiMessageAndVersion(value, (short) version));
    }

    private static void send(
            KafkaProducer<byte[], byte[]> producer, String topic, CoordinatorRecordSerde serde, List<CoordinatorRecord> records)
            throws Exception {
        for (CoordinatorRecord record : records) {
            byte[] value = record.value() == null ? null : serde.serializeValue(record);
            producer.send(new ProducerRecord<>(topic, serde.serializeKey(record), value)).get();
        }
    }
}
