import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * A producer that leaves its transaction open until it is told to go on. Usage: BOOTSTRAP TRANSACTIONAL-ID TOPIC FILE. Prints "open" once a
 * record is in partition 0; when FILE exists it commits, and prints how that went.
 */
public final class OpenTransaction {
    public static void main(String[] args) throws Exception {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", args[0]);
        config.put("transactional.id", args[1]);
        config.put("transaction.timeout.ms", "300000");
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            producer.initTransactions();
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(args[2], 0, "key", args[1])).get();
            System.out.println("open");
            await(Path.of(args[3]));
            try {
                producer.commitTransaction();
                System.out.println("committed");
            } catch (RuntimeException refused) {
                System.out.println("refused: " + refused.getClass().getSimpleName());
            }
        }
    }

    private static void await(Path file) throws IOException, InterruptedException {
        for (int i = 0; i < 1200 && !Files.exists(file); i++) {
            Thread.sleep(50);
        }
    }
}
