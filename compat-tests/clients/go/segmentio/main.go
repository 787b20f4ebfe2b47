// What an application does with segmentio/kafka-go. Usage: STORY BOOTSTRAP PREFIX.
package main

import (
	"context"
	"fmt"
	"hash/crc32"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

const startMs = 1_700_000_000_000

var story, bootstrap, prefix = os.Args[1], os.Args[2], os.Args[3]
var ctx, _ = context.WithTimeout(context.Background(), 100*time.Second)

func main() {
	stories := map[string]func(){"codecs": codecs, "group": group, "positions": positions, "admin": admin}
	stories[story]()
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		panic(err)
	}
}

func client() *kafka.Client {
	return &kafka.Client{Addr: kafka.TCP(bootstrap), Timeout: 20 * time.Second}
}

func create(name string, partitions int) string {
	topic := prefix + "-" + name
	answer, err := client().CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: partitions, ReplicationFactor: 1}}})
	must(err)
	must(answer.Errors[topic])
	return topic
}

func writer(topic string, acks kafka.RequiredAcks, codec kafka.Compression, balancer kafka.Balancer) *kafka.Writer {
	return &kafka.Writer{Addr: kafka.TCP(bootstrap), Topic: topic, RequiredAcks: acks, Compression: codec, Balancer: balancer, BatchTimeout: 20 * time.Millisecond}
}

func produce(topic string, partitions, count int) {
	w := writer(topic, kafka.RequireAll, 0, kafka.BalancerFunc(func(m kafka.Message, _ ...int) int {
		var i int
		fmt.Sscanf(string(m.Key), "k%d", &i)
		return i % partitions
	}))
	messages := []kafka.Message{}
	for i := 0; i < count; i++ {
		messages = append(messages, kafka.Message{Key: []byte(fmt.Sprintf("k%d", i)), Value: []byte(fmt.Sprintf("value %d", i)), Time: time.UnixMilli(int64(startMs + i*1000))})
	}
	must(w.WriteMessages(ctx, messages...))
	must(w.Close())
}

func codecs() {
	topic := create("codecs", 1)
	names := []string{"none", "gzip", "snappy", "lz4", "zstd"}
	sent := 0
	for codec := kafka.Compression(0); codec <= kafka.Zstd; codec++ {
		for _, acks := range []kafka.RequiredAcks{kafka.RequireNone, kafka.RequireOne, kafka.RequireAll} {
			w := writer(topic, acks, codec, &kafka.RoundRobin{})
			messages := []kafka.Message{}
			for i := 0; i < 20; i++ {
				message := kafka.Message{Time: time.UnixMilli(int64(startMs + sent)), Headers: []kafka.Header{{Key: "twice", Value: []byte{byte(i)}}, {Key: "twice", Value: []byte("b")}}}
				if i%5 != 0 {
					message.Key = []byte(fmt.Sprintf("key-%d", i))
				}
				if i%7 != 0 {
					message.Value = []byte(strings.Repeat("value ", i))
				}
				messages = append(messages, message)
				sent++
			}
			must(w.WriteMessages(ctx, messages...))
			must(w.Close())
			fmt.Println(names[codec], "acks", acks, "sent 20")
			// Nothing tells a writer without acknowledgement that the broker has the records: they count once they can be read.
			if acks == kafka.RequireNone {
				settle(topic, int64(sent))
			}
		}
	}
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{bootstrap}, Topic: topic, MaxWait: 200 * time.Millisecond})
	sum := crc32.NewIEEE()
	for seen := 0; seen < sent; seen++ {
		m, err := r.ReadMessage(ctx)
		must(err)
		fmt.Fprint(sum, m.Offset, m.Key, m.Value, m.Time.UnixMilli(), m.Headers)
	}
	must(r.Close())
	fmt.Printf("consumed %d checksum %x\n", sent, sum.Sum32())
}

func settle(topic string, end int64) {
	for ctx.Err() == nil {
		answer, err := client().ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: {kafka.LastOffsetOf(0)}}})
		must(err)
		if answer.Topics[topic][0].LastOffset >= end {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

type member struct {
	reader *kafka.Reader
	stop   context.CancelFunc
	done   chan struct{}
}

func join(topic, id string, values *sync.Map) *member {
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{bootstrap}, GroupID: id, Topic: topic, MaxWait: 200 * time.Millisecond, HeartbeatInterval: 300 * time.Millisecond, SessionTimeout: 6 * time.Second, RebalanceTimeout: 6 * time.Second, StartOffset: kafka.FirstOffset})
	own, stop := context.WithCancel(ctx)
	m := &member{reader: r, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(m.done)
		for {
			message, err := r.FetchMessage(own)
			if err != nil {
				return
			}
			values.Store(fmt.Sprint(message.Partition, "@", message.Offset), true)
			if r.CommitMessages(own, message) != nil {
				return
			}
		}
	}()
	return m
}

func (m *member) leave() {
	m.stop()
	<-m.done
	must(m.reader.Close())
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
	// The broker's view: how many partitions each member was given.
	shares := func() string {
		answer, err := client().DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{id}})
		if err != nil || answer.Groups[0].GroupState != "Stable" {
			return ""
		}
		text := ""
		for _, m := range answer.Groups[0].Members {
			for _, t := range m.MemberAssignments.Topics {
				text += fmt.Sprint(len(t.Partitions), " ")
			}
		}
		return text
	}
	first := join(topic, id, values)
	until("one", func() bool { return shares() == "4 " })
	fmt.Println("one member owns 4")
	second := join(topic, id, values)
	until("two", func() bool { return shares() == "2 2 " })
	fmt.Println("two members own 2 and 2")
	produce(topic, 4, 40)
	until("40 records", func() bool { return count() >= 40 })
	fmt.Println("consumed", count())
	second.leave()
	until("one again", func() bool { return shares() == "4 " })
	fmt.Println("after the second left, the first owns 4")
	produce(topic, 4, 8)
	until("48 records", func() bool { return count() >= 48 })
	first.leave()
	answer, err := client().OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: id, Topics: map[string][]int{topic: {0, 1, 2, 3}}})
	must(err)
	total := int64(0)
	for _, partition := range answer.Topics[topic] {
		total += partition.CommittedOffset
	}
	fmt.Println("consumed", count(), "committed in all", total)
}

func positions() {
	topic := create("positions", 1)
	produce(topic, 1, 30)
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{bootstrap}, Topic: topic, MaxWait: 200 * time.Millisecond})
	read := func(title string) {
		m, err := r.ReadMessage(ctx)
		must(err)
		fmt.Println(title, string(m.Value), "lag", r.Lag())
	}
	must(r.SetOffset(10))
	read("at 10:")
	must(r.SetOffset(kafka.FirstOffset))
	read("at the beginning:")
	must(r.SetOffsetAt(ctx, time.UnixMilli(startMs+20_500)))
	read("for a time:")
	must(r.Close())
	answer, err := client().ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: {kafka.FirstOffsetOf(0), kafka.LastOffsetOf(0)}}})
	must(err)
	fmt.Println("first", answer.Topics[topic][0].FirstOffset, "last", answer.Topics[topic][0].LastOffset)
	id := prefix + "-positions"
	committed, err := client().OffsetCommit(ctx, &kafka.OffsetCommitRequest{GroupID: id, GenerationID: -1, Topics: map[string][]kafka.OffsetCommit{topic: {{Partition: 0, Offset: 15, Metadata: "a note"}}}})
	must(err)
	must(committed.Topics[topic][0].Error)
	fetched, err := client().OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: id, Topics: map[string][]int{topic: {0}}})
	must(err)
	fmt.Println("committed", fetched.Topics[topic][0].CommittedOffset, fetched.Topics[topic][0].Metadata)
}

func admin() {
	c := client()
	topic := prefix + "-admin"
	spec := kafka.TopicConfig{Topic: topic, NumPartitions: 3, ReplicationFactor: 1, ConfigEntries: []kafka.ConfigEntry{{ConfigName: "retention.ms", ConfigValue: "60000"}}}
	for _, title := range []string{"create", "create again"} {
		answer, err := c.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{spec}})
		must(err)
		fmt.Println(title, answer.Errors[topic])
	}
	for _, count := range []int32{5, 2} {
		answer, err := c.CreatePartitions(ctx, &kafka.CreatePartitionsRequest{Topics: []kafka.TopicPartitionsConfig{{Name: topic, Count: count}}})
		must(err)
		fmt.Println("partitions", count, answer.Errors[topic])
	}
	metadata, err := c.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
	must(err)
	fmt.Println("partitions", len(metadata.Topics[0].Partitions), "brokers", len(metadata.Brokers))
	altered, err := c.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{Resources: []kafka.IncrementalAlterConfigsRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, Configs: []kafka.IncrementalAlterConfigsRequestConfig{{Name: "retention.ms", Value: "120000", ConfigOperation: kafka.ConfigOperationSet}}}}})
	must(err)
	fmt.Println("alter", altered.Resources[0].Error)
	// A broker may learn of the change a moment after it was made.
	time.Sleep(time.Second)
	described, err := c.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, ConfigNames: []string{"retention.ms"}}}})
	must(err)
	for _, entry := range described.Resources[0].ConfigEntries {
		fmt.Println(entry.ConfigName, entry.ConfigValue, entry.IsDefault)
	}
	id := prefix + "-admin"
	_, err = c.OffsetCommit(ctx, &kafka.OffsetCommitRequest{GroupID: id, GenerationID: -1, Topics: map[string][]kafka.OffsetCommit{topic: {{Partition: 0, Offset: 7}}}})
	must(err)
	groups, err := c.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{id}})
	must(err)
	fmt.Println("group", groups.Groups[0].GroupState, len(groups.Groups[0].Members))
	gone, err := c.DeleteGroups(ctx, &kafka.DeleteGroupsRequest{GroupIDs: []string{id}})
	must(err)
	fmt.Println("delete the group", gone.Errors[id])
	for _, name := range []string{topic, topic + "-absent"} {
		answer, err := c.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{name}})
		must(err)
		fmt.Println("delete", answer.Errors[name])
	}
}
