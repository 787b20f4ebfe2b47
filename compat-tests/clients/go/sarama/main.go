// What an application does with Sarama. Usage: STORY BOOTSTRAP PREFIX.
package main

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

const startMs = 1_700_000_000_000

var story, bootstrap, prefix = os.Args[1], os.Args[2], os.Args[3]

func main() {
	stories := map[string]func(){"codecs": codecs, "group": group, "positions": positions, "admin": admin, "transactions": transactions}
	stories[story]()
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		panic(err)
	}
}

func config() *sarama.Config {
	c := sarama.NewConfig()
	c.Version = sarama.MaxVersion
	c.Producer.Return.Successes = true
	c.Producer.Partitioner = sarama.NewManualPartitioner
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Offsets.AutoCommit.Enable = false
	c.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	c.Consumer.Group.Session.Timeout = 6 * time.Second
	c.Consumer.MaxWaitTime = 200 * time.Millisecond
	return c
}

func clusterAdmin() sarama.ClusterAdmin {
	a, err := sarama.NewClusterAdmin([]string{bootstrap}, config())
	must(err)
	return a
}

func create(name string, partitions int32) string {
	a := clusterAdmin()
	defer a.Close()
	topic := prefix + "-" + name
	must(a.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1}, false))
	return topic
}

func produce(topic string, partitions, count int) {
	p, err := sarama.NewSyncProducer([]string{bootstrap}, config())
	must(err)
	defer p.Close()
	for i := 0; i < count; i++ {
		_, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: topic, Partition: int32(i % partitions), Key: sarama.StringEncoder(fmt.Sprintf("k%d", i)), Value: sarama.StringEncoder(fmt.Sprintf("value %d", i)), Timestamp: time.UnixMilli(int64(startMs + i*1000))})
		must(err)
	}
}

func codecs() {
	topic := create("codecs", 1)
	sent := 0
	for _, codec := range []sarama.CompressionCodec{sarama.CompressionNone, sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4, sarama.CompressionZSTD} {
		for _, acks := range []sarama.RequiredAcks{sarama.NoResponse, sarama.WaitForLocal, sarama.WaitForAll} {
			c := config()
			c.Producer.Compression = codec
			c.Producer.RequiredAcks = acks
			if acks == sarama.WaitForAll {
				c.Producer.Idempotent = true
				c.Net.MaxOpenRequests = 1
			}
			p, err := sarama.NewSyncProducer([]string{bootstrap}, c)
			must(err)
			messages := []*sarama.ProducerMessage{}
			for i := 0; i < 20; i++ {
				message := &sarama.ProducerMessage{Topic: topic, Timestamp: time.UnixMilli(int64(startMs + sent)), Headers: []sarama.RecordHeader{{Key: []byte("twice"), Value: []byte{byte(i)}}, {Key: []byte("twice"), Value: []byte("b")}}}
				if i%5 != 0 {
					message.Key = sarama.StringEncoder(fmt.Sprintf("key-%d", i))
				}
				if i%7 != 0 {
					message.Value = sarama.StringEncoder(strings.Repeat("value ", i))
				}
				messages = append(messages, message)
				sent++
			}
			must(p.SendMessages(messages))
			must(p.Close())
			fmt.Println(codec, "acks", acks, "sent 20")
		}
	}
	reader, err := sarama.NewConsumer([]string{bootstrap}, config())
	must(err)
	partition, err := reader.ConsumePartition(topic, 0, sarama.OffsetOldest)
	must(err)
	// Without acknowledgements a producer may be overtaken by the next one: the sum does not know the order.
	sum := uint32(0)
	for seen := 0; seen < sent; seen++ {
		select {
		case m := <-partition.Messages():
			text := fmt.Sprint(m.Key, m.Value, m.Timestamp.UnixMilli())
			for _, header := range m.Headers {
				text += fmt.Sprint(header.Key, header.Value)
			}
			sum += crc32.ChecksumIEEE([]byte(text))
		case <-time.After(30 * time.Second):
			panic("waited in vain")
		}
	}
	fmt.Printf("consumed %d checksum %x\n", sent, sum)
	must(partition.Close())
	must(reader.Close())
}

type member struct {
	group  sarama.ConsumerGroup
	stop   context.CancelFunc
	done   chan struct{}
	lock   sync.Mutex
	owned  int
	values *sync.Map
}

func (m *member) Setup(session sarama.ConsumerGroupSession) error {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.owned = 0
	for _, partitions := range session.Claims() {
		m.owned += len(partitions)
	}
	return nil
}

func (m *member) Cleanup(session sarama.ConsumerGroupSession) error {
	session.Commit()
	m.lock.Lock()
	defer m.lock.Unlock()
	m.owned = 0
	return nil
}

func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		m.values.Store(fmt.Sprint(message.Partition, "@", message.Offset), true)
		session.MarkMessage(message, "")
	}
	return nil
}

func (m *member) owns() int {
	m.lock.Lock()
	defer m.lock.Unlock()
	return m.owned
}

func join(topic, id string, values *sync.Map) *member {
	g, err := sarama.NewConsumerGroup([]string{bootstrap}, id, config())
	must(err)
	ctx, stop := context.WithCancel(context.Background())
	m := &member{group: g, stop: stop, done: make(chan struct{}), values: values}
	go func() {
		defer close(m.done)
		for ctx.Err() == nil {
			if err := g.Consume(ctx, []string{topic}, m); errors.Is(err, sarama.ErrClosedConsumerGroup) {
				return
			}
		}
	}()
	return m
}

func (m *member) leave() {
	m.stop()
	<-m.done
	must(m.group.Close())
}

func until(title string, condition func() bool) {
	for i := 0; !condition(); i++ {
		if i > 1200 {
			panic("waited in vain: " + title)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func group() {
	topic := create("group", 4)
	id := prefix + "-group"
	values := &sync.Map{}
	count := func() int {
		n := 0
		values.Range(func(any, any) bool { n++; return true })
		return n
	}
	first := join(topic, id, values)
	until("one", func() bool { return first.owns() == 4 })
	fmt.Println("one member owns 4")
	second := join(topic, id, values)
	until("two", func() bool { return first.owns() == 2 && second.owns() == 2 })
	fmt.Println("two members own 2 and 2")
	produce(topic, 4, 40)
	until("40 records", func() bool { return count() >= 40 })
	fmt.Println("consumed", count())
	second.leave()
	until("one again", func() bool { return first.owns() == 4 })
	fmt.Println("after the second left, the first owns 4")
	produce(topic, 4, 8)
	until("48 records", func() bool { return count() >= 48 })
	first.leave()
	a := clusterAdmin()
	defer a.Close()
	offsets, err := a.ListConsumerGroupOffsets(id, map[string][]int32{topic: {0, 1, 2, 3}})
	must(err)
	total := int64(0)
	for _, block := range offsets.Blocks[topic] {
		total += block.Offset
	}
	fmt.Println("consumed", count(), "committed in all", total)
}

func positions() {
	topic := create("positions", 1)
	produce(topic, 1, 30)
	client, err := sarama.NewClient([]string{bootstrap}, config())
	must(err)
	for _, time := range []int64{sarama.OffsetOldest, sarama.OffsetNewest, startMs + 20_500, startMs + 99_999_000} {
		offset, err := client.GetOffset(topic, 0, time)
		fmt.Println("offset for", time, "is", offset, err)
	}
	reader, err := sarama.NewConsumerFromClient(client)
	must(err)
	partition, err := reader.ConsumePartition(topic, 0, 10)
	must(err)
	fmt.Println("at 10:", string((<-partition.Messages()).Value), "high watermark", partition.HighWaterMarkOffset())
	must(partition.Close())
	_, err = reader.ConsumePartition(topic, 0, 1000)
	fmt.Println("out of range:", err)
	manager, err := sarama.NewOffsetManagerFromClient(prefix+"-positions", client)
	must(err)
	managed, err := manager.ManagePartition(topic, 0)
	must(err)
	before, _ := managed.NextOffset()
	fmt.Println("committed before", before)
	managed.MarkOffset(15, "a note")
	manager.Commit()
	after, note := managed.NextOffset()
	fmt.Println("committed", after, note, "lag", 30-after)
	managed.AsyncClose()
	must(manager.Close())
}

func attempt(title string, err error) {
	fmt.Println(title, err)
}

func admin() {
	a := clusterAdmin()
	defer a.Close()
	topic := prefix + "-admin"
	retention := "60000"
	detail := &sarama.TopicDetail{NumPartitions: 3, ReplicationFactor: 1, ConfigEntries: map[string]*string{"retention.ms": &retention}}
	attempt("create", a.CreateTopic(topic, detail, false))
	attempt("create again", a.CreateTopic(topic, detail, false))
	attempt("bad replication", a.CreateTopic(topic+"-r", &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 5}, false))
	attempt("grow", a.CreatePartitions(topic, 5, nil, false))
	attempt("shrink", a.CreatePartitions(topic, 2, nil, false))
	// A broker may learn of a change a moment after it was made.
	time.Sleep(time.Second)
	described, err := a.DescribeTopics([]string{topic})
	must(err)
	fmt.Println("partitions", len(described[0].Partitions))
	changed := "120000"
	attempt("alter", a.AlterConfig(sarama.TopicResource, topic, map[string]*string{"retention.ms": &changed}, false))
	attempt("alter one", a.IncrementalAlterConfig(sarama.TopicResource, topic, map[string]sarama.IncrementalAlterConfigsEntry{"max.message.bytes": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &changed}}, false))
	time.Sleep(time.Second)
	entries, err := a.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic, ConfigNames: []string{"retention.ms", "max.message.bytes"}})
	must(err)
	sort.Slice(entries, func(i, j int) bool { return entries[i].Name < entries[j].Name })
	for _, entry := range entries {
		fmt.Println(entry.Name, entry.Value, entry.Source)
	}
	produce(topic, 1, 10)
	attempt("delete records", a.DeleteRecords(topic, map[int32]int64{0: 5}))
	id := prefix + "-admin"
	client, err := sarama.NewClient([]string{bootstrap}, config())
	must(err)
	manager, err := sarama.NewOffsetManagerFromClient(id, client)
	must(err)
	managed, err := manager.ManagePartition(topic, 0)
	must(err)
	managed.MarkOffset(7, "")
	manager.Commit()
	managed.AsyncClose()
	must(manager.Close())
	groups, err := a.DescribeConsumerGroups([]string{id})
	must(err)
	fmt.Println("group", groups[0].State, len(groups[0].Members))
	attempt("delete the offset", a.DeleteConsumerGroupOffset(id, topic, 0))
	attempt("delete the group", a.DeleteConsumerGroup(id))
	brokers, controller, err := a.DescribeCluster()
	must(err)
	fmt.Println("brokers", len(brokers), "controller", controller)
	attempt("delete", a.DeleteTopic(topic))
	attempt("delete again", a.DeleteTopic(topic+"-absent"))
}

func transactions() {
	topic := create("txn", 1)
	c := config()
	c.Producer.Transaction.ID = prefix + "-txn"
	c.Producer.Idempotent = true
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Net.MaxOpenRequests = 1
	p, err := sarama.NewSyncProducer([]string{bootstrap}, c)
	must(err)
	for round := 0; round < 4; round++ {
		must(p.BeginTxn())
		for i := 0; i < 3; i++ {
			_, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(fmt.Sprintf("round %d record %d", round, i))})
			must(err)
		}
		must(p.AddOffsetsToTxn(map[string][]*sarama.PartitionOffsetMetadata{topic: {{Partition: 0, Offset: int64(round + 1)}}}, prefix+"-txn-group"))
		if round%2 == 0 {
			must(p.CommitTxn())
		} else {
			must(p.AbortTxn())
		}
	}
	must(p.Close())
	a := clusterAdmin()
	offsets, err := a.ListConsumerGroupOffsets(prefix+"-txn-group", map[string][]int32{topic: {0}})
	must(err)
	fmt.Println("offset of the group", offsets.Blocks[topic][0].Offset)
	for _, level := range []sarama.IsolationLevel{sarama.ReadCommitted, sarama.ReadUncommitted} {
		c := config()
		c.Consumer.IsolationLevel = level
		reader, err := sarama.NewConsumer([]string{bootstrap}, c)
		must(err)
		partition, err := reader.ConsumePartition(topic, 0, sarama.OffsetOldest)
		must(err)
		wanted := 6
		if level == sarama.ReadUncommitted {
			wanted = 12
		}
		for i := 0; i < wanted; i++ {
			select {
			case m := <-partition.Messages():
				fmt.Println(level, m.Offset, string(m.Value))
			case <-time.After(30 * time.Second):
				panic("waited in vain")
			}
		}
	}
}
