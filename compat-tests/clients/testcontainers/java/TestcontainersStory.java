import org.testcontainers.kafka.ConfluentKafkaContainer;
import org.testcontainers.kafka.KafkaContainer;
import org.testcontainers.utility.DockerImageName;

/** Starts the image that is named with Testcontainers for Java, as a test of a user would, and keeps it until stdin ends. */
public final class TestcontainersStory {
    public static void main(String[] arguments) throws Exception {
        DockerImageName image = DockerImageName.parse(arguments[1]);
        if (arguments[0].equals("confluent")) {
            try (ConfluentKafkaContainer kafka = new ConfluentKafkaContainer(image.asCompatibleSubstituteFor("confluentinc/cp-kafka"))) {
                kafka.start();
                hold(kafka.getBootstrapServers());
            }
        } else {
            try (KafkaContainer kafka = new KafkaContainer(image.asCompatibleSubstituteFor("apache/kafka"))) {
                kafka.start();
                hold(kafka.getBootstrapServers());
            }
        }
        System.out.println("STOPPED");
        System.exit(0);
    }

    private static void hold(String bootstrap) throws Exception {
        System.out.println("BOOTSTRAP " + bootstrap.replaceFirst("^.*://", ""));
        System.in.readAllBytes();
    }
}
