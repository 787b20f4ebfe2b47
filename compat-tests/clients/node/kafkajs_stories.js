// What an application does with KafkaJS. Usage: STORY BOOTSTRAP PREFIX.
'use strict'

process.env.KAFKAJS_NO_PARTITIONER_WARNING = '1'
const { Kafka, CompressionTypes, CompressionCodecs, ConfigResourceTypes, logLevel } = require('kafkajs')

const START_MS = 1700000000000
const [story, bootstrap, prefix] = process.argv.slice(2)
const kafka = new Kafka({ clientId: 'kafkajs', brokers: [bootstrap], logLevel: logLevel.NOTHING })
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

async function until(title, condition) {
  for (let i = 0; i < 600; i++) {
    if (await condition()) return
    await pause(100)
  }
  throw new Error(`waited in vain: ${title}`)
}

async function withAdmin(body) {
  const admin = kafka.admin()
  await admin.connect()
  try {
    return await body(admin)
  } finally {
    await admin.disconnect()
  }
}

async function create(name, partitions) {
  const topic = `${prefix}-${name}`
  await withAdmin((admin) => admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions: partitions, replicationFactor: 1 }] }))
  return topic
}

async function produce(topic, partitions, count) {
  const producer = kafka.producer()
  await producer.connect()
  for (let i = 0; i < count; i++) {
    await producer.send({ topic, messages: [{ key: `k${i}`, value: `value ${i}`, partition: i % partitions, timestamp: String(START_MS + i * 1000) }] })
  }
  await producer.disconnect()
}

// KafkaJS leaves all codecs but gzip to others; these install without a compiler. (No LZ4 package does and writes right frames.)
async function addCodecs() {
  CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')
  const zstd = require('@bokuweb/zstd-wasm')
  await zstd.init()
  CompressionCodecs[CompressionTypes.ZSTD] = () => ({
    compress: async (encoder) => Buffer.from(zstd.compress(encoder.buffer, 3)),
    decompress: async (buffer) => Buffer.from(zstd.decompress(buffer)),
  })
}

async function codecs() {
  await addCodecs()
  const topic = await create('codecs', 1)
  let sent = 0
  for (const codec of ['None', 'GZIP', 'Snappy', 'ZSTD']) {
    for (const acks of [0, 1, -1]) {
      const producer = kafka.producer({ idempotent: acks === -1 })
      await producer.connect()
      const messages = []
      for (let i = 0; i < 20; i++, sent++) {
        messages.push({ key: i % 5 ? `key-${i}` : null, value: i % 7 ? `${codec} value `.repeat(i) : null, partition: 0, timestamp: String(START_MS + sent), headers: { a: `h${i}`, many: ['x', 'y'] } })
      }
      const answer = await producer.send({ topic, acks, compression: CompressionTypes[codec], messages })
      console.log(codec, 'acks', acks, 'base offset', acks === 0 ? 'none' : answer[0].baseOffset)
      await producer.disconnect()
      // A producer without acknowledgements is done when the broker has its records, not when it has sent them.
      await withAdmin((admin) => until('all sent', async () => Number((await admin.fetchTopicOffsets(topic))[0].high) === sent))
    }
  }
  const consumer = kafka.consumer({ groupId: `${prefix}-codecs` })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  const hash = require('crypto').createHash('sha1')
  let seen = 0
  await consumer.run({
    eachMessage: async ({ message }) => {
      hash.update(`${message.offset}|${message.key}|${message.value}|${message.timestamp}|${message.headers.a}|${message.headers.many}`)
      seen++
    },
  })
  await until('all codecs', () => seen >= sent)
  await consumer.disconnect()
  console.log('consumed', seen, 'checksum', hash.digest('hex'))
}

async function group() {
  const topic = await create('group', 4)
  const groupId = `${prefix}-group`
  const values = []
  const start = async () => {
    const consumer = kafka.consumer({ groupId, heartbeatInterval: 300, sessionTimeout: 6000, rebalanceTimeout: 10000, maxWaitTimeInMs: 200 })
    const member = { consumer, owned: -1 }
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
      member.owned = (payload.memberAssignment[topic] || []).length
    })
    await consumer.connect()
    await consumer.subscribe({ topic, fromBeginning: true })
    await consumer.run({ eachMessage: async ({ partition, message }) => values.push(`${partition}@${message.offset}`) })
    return member
  }
  const first = await start()
  await until('first', () => first.owned === 4)
  console.log('one member owns 4')
  const second = await start()
  await until('two', () => first.owned === 2 && second.owned === 2)
  console.log('two members own 2 and 2')
  await produce(topic, 4, 40)
  await until('40 records', () => new Set(values).size >= 40)
  console.log('consumed', new Set(values).size)
  await second.consumer.disconnect()
  await until('one again', () => first.owned === 4)
  console.log('after the second left, the first owns 4')
  await produce(topic, 4, 8)
  await until('48 records', () => new Set(values).size >= 48)
  await first.consumer.disconnect()
  await withAdmin(async (admin) => {
    const [offsets] = await admin.fetchOffsets({ groupId, topics: [topic] })
    console.log('consumed', new Set(values).size, 'committed in all', offsets.partitions.reduce((sum, p) => sum + Number(p.offset), 0))
  })
}

async function positions() {
  const topic = await create('positions', 1)
  await produce(topic, 1, 30)
  const groupId = `${prefix}-positions`
  const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 200 })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  const seen = []
  await consumer.run({ autoCommit: false, eachMessage: async ({ message }) => seen.push(Number(message.offset)) })
  await until('everything', () => seen.length >= 30)
  console.log('from the beginning', seen[0], seen.length)
  seen.length = 0
  consumer.seek({ topic, partition: 0, offset: '10' })
  await until('from 10', () => seen.includes(10))
  console.log('at 10:', seen[seen.indexOf(10)])
  await consumer.commitOffsets([{ topic, partition: 0, offset: '15', metadata: 'a note' }])
  await consumer.disconnect()
  await withAdmin(async (admin) => {
    const [committed] = await admin.fetchOffsets({ groupId, topics: [topic] })
    const [ends] = await admin.fetchTopicOffsets(topic)
    const [timed] = await admin.fetchTopicOffsetsByTimestamp(topic, START_MS + 20500)
    console.log('committed', committed.partitions[0].offset, committed.partitions[0].metadata, 'end', ends.high, 'low', ends.low, 'lag', ends.high - committed.partitions[0].offset)
    console.log('for a time', timed.offset)
    await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '3' }] })
    console.log('set', (await admin.fetchOffsets({ groupId, topics: [topic] }))[0].partitions[0].offset)
    await admin.resetOffsets({ groupId, topic, earliest: true })
    console.log('reset', (await admin.fetchOffsets({ groupId, topics: [topic] }))[0].partitions[0].offset)
  })
}

async function attempt(title, step) {
  try {
    await step()
    console.log(title, 'no error')
  } catch (error) {
    const inner = error.errors ? error.errors[0] : error
    console.log(title, inner.type || inner.name)
  }
}

async function admin() {
  await withAdmin(async (client) => {
    const topic = `${prefix}-admin`
    const spec = { topic, numPartitions: 3, replicationFactor: 1, configEntries: [{ name: 'retention.ms', value: '60000' }] }
    console.log('create', await client.createTopics({ topics: [spec] }))
    console.log('create again', await client.createTopics({ topics: [spec] }))
    await attempt('bad replication', () => client.createTopics({ topics: [{ topic: `${topic}-r`, replicationFactor: 5 }] }))
    console.log('listed', (await client.listTopics()).includes(topic))
    const partitions = async () => (await client.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length
    console.log('partitions', await partitions())
    await attempt('grow', () => client.createPartitions({ topicPartitions: [{ topic, count: 5 }] }))
    await attempt('shrink', () => client.createPartitions({ topicPartitions: [{ topic, count: 2 }] }))
    console.log('partitions', await partitions())
    const resource = { type: ConfigResourceTypes.TOPIC, name: topic }
    await client.alterConfigs({ resources: [{ ...resource, configEntries: [{ name: 'retention.ms', value: '120000' }] }] })
    const described = await client.describeConfigs({ resources: [resource] })
    console.log('retention', described.resources[0].configEntries.find((entry) => entry.configName === 'retention.ms').configValue)
    await produce(topic, 1, 10)
    await attempt('delete records', () => client.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '5' }] }))
    console.log('low', (await client.fetchTopicOffsets(topic)).find((p) => p.partition === 0).low)
    const groupId = `${prefix}-admin`
    await client.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '7' }] })
    console.log('group', (await client.listGroups()).groups.some((g) => g.groupId === groupId), (await client.describeGroups([groupId])).groups[0].state)
    await attempt('delete the group', () => client.deleteGroups([groupId]))
    await attempt('delete the group again', () => client.deleteGroups([groupId]))
    console.log('brokers', (await client.describeCluster()).brokers.length)
    await attempt('delete', () => client.deleteTopics({ topics: [topic] }))
    await attempt('delete again', () => client.deleteTopics({ topics: [`${topic}-absent`] }))
  })
}

async function transactions() {
  const topic = await create('txn', 1)
  const groupId = `${prefix}-txn-group`
  const producer = kafka.producer({ transactionalId: `${prefix}-txn`, maxInFlightRequests: 1, idempotent: true })
  await producer.connect()
  for (let round = 0; round < 4; round++) {
    const transaction = await producer.transaction()
    for (let i = 0; i < 3; i++) {
      await transaction.send({ topic, messages: [{ value: `round ${round} record ${i}`, partition: 0 }] })
    }
    await transaction.sendOffsets({ consumerGroupId: groupId, topics: [{ topic, partitions: [{ partition: 0, offset: String(round + 1) }] }] })
    await (round % 2 === 0 ? transaction.commit() : transaction.abort())
  }
  await producer.disconnect()
  await withAdmin(async (client) => console.log('offset of the group', (await client.fetchOffsets({ groupId, topics: [topic] }))[0].partitions[0].offset))
  for (const readUncommitted of [false, true]) {
    const consumer = kafka.consumer({ groupId: `${prefix}-txn-${readUncommitted}`, readUncommitted, maxWaitTimeInMs: 200 })
    await consumer.connect()
    await consumer.subscribe({ topic, fromBeginning: true })
    const found = []
    await consumer.run({ eachMessage: async ({ message }) => found.push(`${message.offset} ${message.value}`) })
    await until('the transactions', () => found.length >= (readUncommitted ? 12 : 6))
    await pause(500)
    await consumer.disconnect()
    console.log(readUncommitted ? 'read_uncommitted' : 'read_committed', found)
  }
}

const stories = { codecs, group, positions, admin, transactions }
stories[story]().then(() => process.exit(0)).catch((error) => {
  console.error(error)
  process.exit(1)
})
