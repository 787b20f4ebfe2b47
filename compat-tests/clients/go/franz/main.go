// What an application does with franz-go. Usage: STORY BOOTSTRAP PREFIX.
package main

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"sort"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const startMs = 1_700_000_000_000

var story, bootstrap, prefix = os.Args[1], os.Args[2], os.Args[3]
var ctx, _ = context.WithTimeout(context.Background(), 100*time.Second)

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

func client(options ...kgo.Opt) *kgo.Client {
	all := append([]kgo.Opt{kgo.SeedBrokers(bootstrap), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.FetchMaxWait(200 * time.Millisecond)}, options...)
	cl, err := kgo.NewClient(all...)
	must(err)
	return cl
}

func create(name string, partitions int32) string {
	cl := client()
	defer cl.Close()
	topic := prefix + "-" + name
	_, err := kadm.NewClient(cl).CreateTopic(ctx, partitions, 1, nil, topic)
	must(err)
	return topic
}

func produce(topic string, partitions, count int) {
	cl := client()
	defer cl.Close()
	for i := 0; i < count; i++ {
		record := &kgo.Record{Topic: topic, Partition: int32(i % partitions), Key: []byte(fmt.Sprintf("k%d", i)), Value: []byte(fmt.Sprintf("value %d", i)), Timestamp: time.UnixMilli(int64(startMs + i*1000))}
		must(cl.ProduceSync(ctx, record).FirstErr())
	}
}

// A producer without acknowledgements is done when the broker has its records, not when it has sent them.
func settle(topic string, end int64) {
	cl := client()
	defer cl.Close()
	for {
		ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
		must(err)
		must(ends.Error())
		if offset, _ := ends.Lookup(topic, 0); offset.Offset == end {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func codecs() {
	topic := create("codecs", 1)
	codec := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
	acks := []struct {
		name string
		acks kgo.Acks
	}{{"0", kgo.NoAck()}, {"1", kgo.LeaderAck()}, {"all", kgo.AllISRAcks()}}
	sent := 0
	for _, name := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		for _, ack := range acks {
			options := []kgo.Opt{kgo.RequiredAcks(ack.acks), kgo.ProducerBatchCompression(codec[name]), kgo.ProducerLinger(20 * time.Millisecond)}
			if ack.name != "all" {
				options = append(options, kgo.DisableIdempotentWrite())
			}
			cl := client(options...)
			records := []*kgo.Record{}
			for i := 0; i < 20; i++ {
				record := &kgo.Record{Topic: topic, Timestamp: time.UnixMilli(int64(startMs + sent)), Headers: []kgo.RecordHeader{{Key: "twice", Value: []byte{byte(i)}}, {Key: "twice", Value: []byte("b")}, {Key: "none"}}}
				if i%5 != 0 {
					record.Key = []byte(fmt.Sprintf("key-%d", i))
				}
				if i%7 != 0 {
					for n := 0; n < i; n++ {
						record.Value = append(record.Value, []byte(name+" value ")...)
					}
				}
				records = append(records, record)
				sent++
			}
			results := cl.ProduceSync(ctx, records...)
			must(results.FirstErr())
			last := int64(-1)
			if ack.name != "0" {
				last = results[len(results)-1].Record.Offset
			}
			fmt.Println(name, "acks", ack.name, "last offset", last)
			cl.Close()
			settle(topic, int64(sent))
		}
	}
	cl := client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	defer cl.Close()
	sum := crc32.NewIEEE()
	seen := 0
	for seen < sent {
		fetches := cl.PollFetches(ctx)
		must(fetches.Err())
		fetches.EachRecord(func(record *kgo.Record) {
			fmt.Fprint(sum, record.Offset, record.Key, record.Value, record.Timestamp.UnixMilli(), record.Headers)
			seen++
		})
	}
	fmt.Printf("consumed %d checksum %x\n", seen, sum.Sum32())
}

type member struct {
	client *kgo.Client
	owned  map[int32]bool
}

func join(topic, group string) *member {
	m := &member{owned: map[int32]bool{}}
	m.client = client(kgo.ConsumeTopics(topic), kgo.ConsumerGroup(group), kgo.HeartbeatInterval(300*time.Millisecond), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.BlockRebalanceOnPoll(), kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, added map[string][]int32) {
			for _, partition := range added[topic] {
				m.owned[partition] = true
			}
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
			for _, partition := range lost[topic] {
				delete(m.owned, partition)
			}
		}))
	return m
}

func (m *member) take(into map[string]bool) {
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	fetches := m.client.PollFetches(short)
	fetches.EachRecord(func(record *kgo.Record) { into[fmt.Sprint(record.Partition, "@", record.Offset)] = true })
	m.client.AllowRebalance()
}

func until(title string, condition func() bool, step func()) {
	for deadline := time.Now().Add(60 * time.Second); !condition(); step() {
		if time.Now().After(deadline) {
			panic("waited in vain: " + title)
		}
	}
}

func group() {
	topic := create("group", 4)
	id := prefix + "-group"
	values := map[string]bool{}
	first := join(topic, id)
	until("one", func() bool { return len(first.owned) == 4 }, func() { first.take(values) })
	fmt.Println("one member owns 4")
	second := join(topic, id)
	both := func() { first.take(values); second.take(values) }
	until("two", func() bool { return len(first.owned) == 2 && len(second.owned) == 2 }, both)
	fmt.Println("two members own 2 and 2")
	produce(topic, 4, 40)
	until("40 records", func() bool { return len(values) >= 40 }, both)
	fmt.Println("consumed", len(values))
	must(first.client.CommitUncommittedOffsets(ctx))
	must(second.client.CommitUncommittedOffsets(ctx))
	second.client.CloseAllowingRebalance()
	until("one again", func() bool { return len(first.owned) == 4 }, func() { first.take(values) })
	fmt.Println("after the second left, the first owns 4")
	produce(topic, 4, 8)
	until("48 records", func() bool { return len(values) >= 48 }, func() { first.take(values) })
	must(first.client.CommitUncommittedOffsets(ctx))
	first.client.CloseAllowingRebalance()
	cl := client()
	defer cl.Close()
	adm := kadm.NewClient(cl)
	offsets, err := adm.FetchOffsets(ctx, id)
	must(err)
	total := int64(0)
	offsets.Each(func(o kadm.OffsetResponse) { total += o.At })
	lags, err := adm.Lag(ctx, id)
	must(err)
	fmt.Println("consumed", len(values), "committed in all", total, "lag", lags[id].Lag.Total(), lags[id].State)
}

func positions() {
	topic := create("positions", 1)
	produce(topic, 1, 30)
	cl := client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(10)}}))
	defer cl.Close()
	one := func() *kgo.Record { return cl.PollRecords(ctx, 1).Records()[0] }
	fmt.Println("at 10:", string(one().Value))
	cl.SetOffsets(map[string]map[int32]kgo.EpochOffset{topic: {0: {Epoch: -1, Offset: 0}}})
	fmt.Println("at the beginning:", string(one().Value))
	cl.SetOffsets(map[string]map[int32]kgo.EpochOffset{topic: {0: {Epoch: -1, Offset: 1000}}})
	fmt.Println("out of range falls back to", one().Offset)
	adm := kadm.NewClient(cl)
	show := func(title string, offsets kadm.ListedOffsets, err error) {
		must(err)
		offset, _ := offsets.Lookup(topic, 0)
		fmt.Println(title, offset.Offset, offset.Err)
	}
	starts, err := adm.ListStartOffsets(ctx, topic)
	show("start", starts, err)
	ends, err := adm.ListEndOffsets(ctx, topic)
	show("end", ends, err)
	committed, err := adm.ListCommittedOffsets(ctx, topic)
	show("committed end", committed, err)
	timed, err := adm.ListOffsetsAfterMilli(ctx, startMs+20_500, topic)
	show("for a time", timed, err)
	greatest, err := adm.ListMaxTimestampOffsets(ctx, topic)
	show("greatest time", greatest, err)
	id := prefix + "-positions"
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: topic, Partition: 0, At: 15, LeaderEpoch: 0, Metadata: "a note"})
	must(adm.CommitAllOffsets(ctx, id, offsets))
	fetched, err := adm.FetchOffsets(ctx, id)
	must(err)
	found, _ := fetched.Lookup(topic, 0)
	fmt.Println("committed", found.At, found.Metadata, "lag", 30-found.At)
}

func attempt(title string, err error) {
	var known *kerr.Error
	if errors.As(err, &known) {
		fmt.Println(title, known.Message)
	} else {
		fmt.Println(title, err)
	}
}

func admin() {
	cl := client()
	defer cl.Close()
	adm := kadm.NewClient(cl)
	topic := prefix + "-admin"
	retention := "60000"
	_, err := adm.CreateTopic(ctx, 3, 1, map[string]*string{"retention.ms": &retention}, topic)
	attempt("create", err)
	_, err = adm.CreateTopic(ctx, 3, 1, nil, topic)
	attempt("create again", err)
	_, err = adm.CreateTopic(ctx, 1, 5, nil, topic+"-r")
	attempt("bad replication", err)
	topics, err := adm.ListTopics(ctx, topic)
	must(err)
	fmt.Println("partitions", len(topics[topic].Partitions))
	grown, err := adm.UpdatePartitions(ctx, 5, topic)
	must(err)
	attempt("grow", grown.Error())
	shrunk, err := adm.UpdatePartitions(ctx, 2, topic)
	must(err)
	attempt("shrink", shrunk.Error())
	changed := "120000"
	altered, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &changed}}, topic)
	must(err)
	attempt("alter", altered[0].Err)
	// A broker may learn of the change a moment after it was made.
	shown := ""
	for i := 0; i < 50 && shown != "120000 DYNAMIC_TOPIC_CONFIG 3"; i++ {
		configs, err := adm.DescribeTopicConfigs(ctx, topic)
		must(err)
		for _, config := range configs[0].Configs {
			if config.Key == "retention.ms" {
				shown = fmt.Sprint(config.MaybeValue(), " ", config.Source, " ", len(config.Synonyms))
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	fmt.Println("retention", shown)
	produce(topic, 1, 10)
	upTo := kadm.Offsets{}
	upTo.Add(kadm.Offset{Topic: topic, Partition: 0, At: 5})
	deleted, err := adm.DeleteRecords(ctx, upTo)
	must(err)
	low, _ := deleted.Lookup(topic, 0)
	fmt.Println("low watermark", low.LowWatermark, low.Err)
	id := prefix + "-admin"
	must(adm.CommitAllOffsets(ctx, id, upTo))
	described, err := adm.DescribeGroups(ctx, id)
	must(err)
	fmt.Println("group", described[id].State, len(described[id].Members))
	groups, err := adm.DeleteGroups(ctx, id)
	must(err)
	attempt("delete the group", groups[id].Err)
	groups, err = adm.DeleteGroups(ctx, id)
	must(err)
	attempt("delete the group again", groups[id].Err)
	brokers, err := adm.ListBrokers(ctx)
	must(err)
	fmt.Println("brokers", len(brokers))
	dirs, err := adm.DescribeAllLogDirs(ctx, nil)
	must(err)
	fmt.Println("log dirs", len(dirs[1]))
	gone, err := adm.DeleteTopics(ctx, topic)
	must(err)
	attempt("delete", gone[topic].Err)
	gone, err = adm.DeleteTopics(ctx, topic+"-absent")
	must(err)
	attempt("delete again", gone[topic+"-absent"].Err)
}

func transactions() {
	topic := create("txn", 1)
	cl := client(kgo.TransactionalID(prefix + "-txn"))
	for round := 0; round < 4; round++ {
		must(cl.BeginTransaction())
		for i := 0; i < 3; i++ {
			must(cl.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte(fmt.Sprintf("round %d record %d", round, i))}).FirstErr())
		}
		must(cl.EndTransaction(ctx, kgo.TransactionEndTry(round%2 == 0)))
	}
	cl.Close()
	for _, isolation := range []struct {
		name  string
		level kgo.IsolationLevel
		count int
	}{{"read_committed", kgo.ReadCommitted(), 6}, {"read_uncommitted", kgo.ReadUncommitted(), 12}} {
		reader := client(kgo.FetchIsolationLevel(isolation.level), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
		found := []string{}
		for len(found) < isolation.count {
			fetches := reader.PollFetches(ctx)
			must(fetches.Err())
			fetches.EachRecord(func(record *kgo.Record) { found = append(found, fmt.Sprint(record.Offset, " ", string(record.Value))) })
		}
		sort.Strings(found)
		fmt.Println(isolation.name, found)
		reader.Close()
	}
}
