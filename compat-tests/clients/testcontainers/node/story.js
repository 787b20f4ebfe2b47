// Starts the image that is named with Testcontainers for Node, as a test of a user would, and keeps it until stdin ends.
const { KafkaContainer } = require("@testcontainers/kafka");

async function main() {
  const [mode, image] = process.argv.slice(2);
  let container = new KafkaContainer(image);
  if (mode === "kraft") container = container.withKraft();
  const kafka = await container.start();
  console.log(`BOOTSTRAP ${kafka.getHost()}:${kafka.getMappedPort(9093)}`);
  for await (const _ of process.stdin);
  await kafka.stop();
  console.log("STOPPED");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
