// A transactional client (franz-go) of the checker in src/jepsen; history.rs describes the lines it writes.
//
// Usage: work|final|raw BOOTSTRAP TOPIC KEYS PROCESS TRANSACTIONS SEED FILE
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

type op = []any

type entry struct {
	P      string  `json:"p"`
	F      string  `json:"f"`
	Type   string  `json:"type"`
	Commit *int64  `json:"commit"`
	Group  *string `json:"group,omitempty"`
	N      *int    `json:"n,omitempty"`
	Ops    []op    `json:"ops"`
}

var (
	kind, topic, process string
	bootstrap            []string
	keys                 int
	random               *rand.Rand
	file                 *os.File
	producer, consumer   *kgo.Client
	session, values      int
)

func main() {
	kind, topic, process = os.Args[1], os.Args[3], os.Args[5]
	bootstrap = strings.Split(os.Args[2], ",")
	keys = number(os.Args[4])
	random = rand.New(rand.NewSource(int64(number(os.Args[7]))))
	var err error
	file, err = os.OpenFile(os.Args[8], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	must(err)
	if kind == "work" {
		for n := 1; n <= number(os.Args[6]); n++ {
			transaction(n)
		}
	} else {
		readAll()
	}
	must(file.Close())
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	must(err)
	return n
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func client(options ...kgo.Opt) (*kgo.Client, error) {
	// Metadata that is asked for seldom would make each death cost seconds.
	return kgo.NewClient(append(options, kgo.SeedBrokers(bootstrap...), kgo.MetadataMinAge(100*time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }))...)
}

func reader(level kgo.IsolationLevel, at kgo.Offset) (*kgo.Client, error) {
	from := map[int32]kgo.Offset{}
	for key := 0; key < keys; key++ {
		from[int32(key)] = at
	}
	return client(kgo.FetchIsolationLevel(level), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}), kgo.FetchMaxWait(20*time.Millisecond))
}

func open() error {
	var err error
	if producer == nil {
		producer, err = client(kgo.TransactionalID(process), kgo.TransactionTimeout(30*time.Second), kgo.RecordPartitioner(kgo.ManualPartitioner()),
			kgo.ProducerLinger(time.Millisecond), kgo.RecordDeliveryTimeout(20*time.Second))
		if err != nil {
			return err
		}
	}
	if consumer == nil || random.Intn(200) == 0 {
		if consumer != nil {
			consumer.Close()
		}
		session++
		at := kgo.NewOffset().AtEnd()
		if session == 1 {
			at = kgo.NewOffset().AtStart()
		}
		consumer, err = reader(kgo.ReadCommitted(), at)
	}
	return err
}

func transaction(n int) {
	var ops []op
	var asked *int64
	withOffset, aborts := random.Intn(4) == 0, random.Intn(10) == 0
	outcome := "fail"
	err := func() error {
		if err := open(); err != nil {
			return err
		}
		if err := producer.BeginTransaction(); err != nil {
			return err
		}
		for i := random.Intn(4); i >= 0; i-- {
			if random.Intn(3) == 0 {
				ops = append(ops, poll(20*time.Millisecond)...)
				continue
			}
			key := random.Intn(keys)
			sent := op{"s", key, fmt.Sprintf("%s-%d", process, values), nil}
			values++
			ops = append(ops, sent)
			producer.Produce(context.Background(), &kgo.Record{Topic: topic, Partition: int32(key), Value: []byte(sent[2].(string))}, func(record *kgo.Record, err error) {
				if err == nil {
					sent[3] = record.Offset
				}
			})
		}
		limit, cancel := context.WithTimeout(context.Background(), 25*time.Second)
		defer cancel()
		if err := producer.Flush(limit); err != nil {
			return err
		}
		for _, sent := range ops {
			if sent[0] == "s" && sent[3] == nil {
				return errors.New("a record was refused")
			}
		}
		// Without a record the client would not end the transaction.
		withOffset = withOffset && hasSend(ops)
		if withOffset {
			if err := commitOffset(limit, n); err != nil {
				return err
			}
		}
		if aborts {
			return producer.EndTransaction(limit, kgo.TryAbort)
		}
		now := time.Now().UnixMicro()
		asked = &now
		if err := producer.EndTransaction(limit, kgo.TryCommit); err != nil {
			return err
		}
		outcome = "ok"
		return nil
	}()
	if err != nil {
		outcome = "fail"
		if asked != nil {
			outcome = "info"
		}
		fmt.Fprintln(os.Stderr, process, err)
		// A new producer of the same id ends what was open.
		if producer != nil {
			producer.CloseAllowingRebalance()
			producer = nil
		}
		if consumer != nil && random.Intn(3) == 0 {
			consumer.Close()
			consumer = nil
		}
	}
	line := entry{P: process, F: "txn", Type: outcome, Commit: asked, Ops: ops}
	if withOffset {
		line.Group, line.N = &process, &n
	}
	write(line)
}

func hasSend(ops []op) bool {
	for _, each := range ops {
		if each[0] == "s" {
			return true
		}
	}
	return false
}

// commitOffset adds an offset of a group to the transaction, as a group session would for its own. The producer id and epoch are this
// client's; the partition is known to the transaction by the request itself (KIP-890).
func commitOffset(limit context.Context, n int) error {
	id, epoch, err := producer.ProducerID(limit)
	if err != nil {
		return err
	}
	for {
		request := kmsg.NewPtrTxnOffsetCommitRequest()
		request.TransactionalID, request.Group, request.ProducerID, request.ProducerEpoch, request.Generation = process, process, id, epoch, -1
		of := kmsg.NewTxnOffsetCommitRequestTopic()
		of.Topic = topic
		at := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		at.Partition, at.Offset, at.LeaderEpoch = 0, int64(n), -1
		of.Partitions = append(of.Partitions, at)
		request.Topics = append(request.Topics, of)
		response, err := request.RequestWith(limit, producer)
		if err != nil {
			return err
		}
		err = kerr.ErrorForCode(response.Topics[0].Partitions[0].ErrorCode)
		if err == nil || !kerr.IsRetriable(err) || limit.Err() != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func poll(patience time.Duration) []op {
	limit, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	found := map[int][]op{}
	consumer.PollFetches(limit).EachRecord(func(record *kgo.Record) {
		found[int(record.Partition)] = append(found[int(record.Partition)], op{record.Offset, string(record.Value)})
	})
	done := time.Now().UnixMicro()
	var ops []op
	for key, records := range found {
		ops = append(ops, op{"p", session, key, records, done})
	}
	sort.Slice(ops, func(a, b int) bool { return ops[a][2].(int) < ops[b][2].(int) })
	return ops
}

func readAll() {
	session++
	level, ends := kgo.ReadCommitted(), func(adm *kadm.Client) (kadm.ListedOffsets, error) {
		return adm.ListCommittedOffsets(context.Background(), topic)
	}
	if kind == "raw" {
		level, ends = kgo.ReadUncommitted(), func(adm *kadm.Client) (kadm.ListedOffsets, error) { return adm.ListEndOffsets(context.Background(), topic) }
	}
	var err error
	consumer, err = reader(level, kgo.NewOffset().AtStart())
	must(err)
	adm := kadm.NewClient(consumer)
	end, err := ends(adm)
	must(err)
	must(end.Error())
	ops := []op{}
	// Control records move the position without being seen: what is behind them is the end when nothing more comes.
	last, idle := map[int]int64{}, 0
	for idle < 10 {
		found := poll(200 * time.Millisecond)
		idle++
		for _, each := range found {
			records := each[3].([]op)
			last[each[2].(int)] = records[len(records)-1][0].(int64)
			idle = 0
		}
		ops = append(ops, found...)
	}
	end.Each(func(listed kadm.ListedOffset) {
		if listed.Offset > 0 && last[int(listed.Partition)] > listed.Offset {
			must(fmt.Errorf("read beyond the end of %d", listed.Partition))
		}
	})
	write(entry{P: process + "-" + kind, F: kind, Type: "ok", Ops: ops})
	offsets, err := adm.FetchOffsets(context.Background(), process)
	must(err)
	at := int64(-1)
	if offset, ok := offsets.Lookup(topic, 0); ok {
		must(offset.Err)
		at = offset.At
	}
	line, err := json.Marshal(map[string]any{"f": "offset", "group": process, "n": at})
	must(err)
	_, err = file.Write(append(line, '\n'))
	must(err)
}

func write(line entry) {
	if line.Ops == nil {
		line.Ops = []op{}
	}
	text, err := json.Marshal(line)
	must(err)
	_, err = file.Write(append(text, '\n'))
	must(err)
}
