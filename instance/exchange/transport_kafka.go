package exchange

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

const (
	kafkaTimeout    = 10 * time.Second // of one request; the client tells brokers half of it
	fetchWait       = 2 * time.Second  // how long a broker holds a fetch for the first message
	fetchBytes      = 8 << 20
	produceBytes    = 1 << 20 // of one request; a larger message goes alone
	messageBytes    = 16 << 20
	topicRetention  = 14 * 24 * time.Hour
	topicReplicas   = 3 // or as many as there are brokers
	topicReadyLimit = 30 * time.Second
)

// brokers is the Transport on kafka-go. It uses the client's plain requests,
// neither Writer nor Reader: those batch by the clock, retry out of sight and
// jump over what retention removed (research/sync.md 1.6).
type brokers struct {
	client    *kafka.Client
	transport *kafka.Transport
}

// NewKafka is a Transport to a Kafka cluster. It connects when it is first
// used.
func NewKafka(addresses []string) Transport {
	t := &kafka.Transport{ClientID: "meridian", DialTimeout: 5 * time.Second, MetadataTTL: 5 * time.Second}
	return &brokers{
		client:    &kafka.Client{Addr: kafka.TCP(addresses...), Timeout: kafkaTimeout, Transport: t},
		transport: t,
	}
}

func (b *brokers) Close() error {
	b.transport.CloseIdleConnections()
	return nil
}

func (b *brokers) CreateTopic(ctx context.Context, topic string) error {
	ctx, cancel := context.WithTimeout(ctx, topicReadyLimit)
	defer cancel()
	meta, err := b.client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return fmt.Errorf("topic %s: %w", topic, err)
	}
	if ready(meta, topic) {
		return nil
	}
	res, err := b.client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{
		Topic: topic, NumPartitions: 1, ReplicationFactor: min(topicReplicas, len(meta.Brokers)),
		ConfigEntries: []kafka.ConfigEntry{
			{ConfigName: "cleanup.policy", ConfigValue: "delete"},
			{ConfigName: "retention.ms", ConfigValue: strconv.FormatInt(topicRetention.Milliseconds(), 10)},
			{ConfigName: "max.message.bytes", ConfigValue: strconv.Itoa(messageBytes)},
		},
	}}})
	if err != nil {
		return fmt.Errorf("create topic %s: %w", topic, err)
	}
	if err := res.Errors[topic]; err != nil && !errors.Is(err, kafka.TopicAlreadyExists) {
		return fmt.Errorf("create topic %s: %w", topic, err)
	}
	// The answer comes before the brokers agree who leads (KRaft is
	// asynchronous): wait until they do.
	for {
		meta, err := b.client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
		if err == nil && ready(meta, topic) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("topic %s has no leader: %w", topic, errors.Join(ctx.Err(), err))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func ready(meta *kafka.MetadataResponse, topic string) bool {
	for _, t := range meta.Topics {
		if t.Name == topic && t.Error == nil && len(t.Partitions) > 0 && t.Partitions[0].Error == nil && t.Partitions[0].Leader.Host != "" {
			return true
		}
	}
	return false
}

func (b *brokers) Produce(ctx context.Context, topic string, messages []Message) error {
	for len(messages) > 0 {
		n, size := 0, 0
		for n < len(messages) && (n == 0 || size+len(messages[n].Value) <= produceBytes) {
			size += len(messages[n].Value)
			n++
		}
		if err := b.produce(ctx, topic, messages[:n]); err != nil {
			return fmt.Errorf("produce to %s: %w", topic, err)
		}
		messages = messages[n:]
	}
	return nil
}

func (b *brokers) produce(ctx context.Context, topic string, messages []Message) error {
	now := time.Now()
	records := make([]kafka.Record, len(messages))
	for i, m := range messages {
		value := m.Value
		if value == nil {
			value = []byte{}
		}
		records[i] = kafka.Record{
			Time: now, Key: kafka.NewBytes([]byte(m.Key)), Value: kafka.NewBytes(value), Headers: headers(m.Headers),
		}
	}
	res, err := b.client.Produce(ctx, &kafka.ProduceRequest{
		Topic: topic, Partition: 0, RequiredAcks: kafka.RequireAll, Records: kafka.NewRecordReader(records...),
	})
	if err != nil {
		return err
	}
	return res.Error
}

func (b *brokers) Fetch(ctx context.Context, topic string, offset int64) (Fetched, error) {
	res, err := b.client.Fetch(ctx, &kafka.FetchRequest{
		Topic: topic, Partition: 0, Offset: offset, MinBytes: 1, MaxBytes: fetchBytes, MaxWait: fetchWait,
	})
	if err == nil {
		err = res.Error
	}
	switch {
	case errors.Is(err, kafka.OffsetOutOfRange):
		return Fetched{}, b.outOfRange(ctx, topic, offset)
	case errors.Is(err, kafka.UnknownTopicOrPartition) || errors.Is(err, protocol.ErrNoTopic):
		return Fetched{}, &UnknownTopic{Topic: topic}
	case err != nil:
		return Fetched{}, fmt.Errorf("fetch %s from %d: %w", topic, offset, err)
	}
	f := Fetched{Next: offset, End: res.HighWatermark}
	for {
		r, err := res.Records.ReadRecord()
		if errors.Is(err, io.EOF) {
			return f, nil
		}
		if err != nil {
			return Fetched{}, fmt.Errorf("fetch %s from %d: %w", topic, offset, err)
		}
		m, err := message(r)
		if err != nil {
			return Fetched{}, fmt.Errorf("fetch %s at %d: %w", topic, r.Offset, err)
		}
		// A batch may begin before the offset that was asked for.
		if r.Offset < offset {
			continue
		}
		f.Messages = append(f.Messages, m)
		f.Next = r.Offset + 1
	}
}

// outOfRange finds out what the topic has instead.
func (b *brokers) outOfRange(ctx context.Context, topic string, offset int64) error {
	res, err := b.client.ListOffsets(ctx, &kafka.ListOffsetsRequest{
		Topics: map[string][]kafka.OffsetRequest{topic: {kafka.FirstOffsetOf(0), kafka.LastOffsetOf(0)}},
	})
	if err != nil {
		return fmt.Errorf("offsets of %s: %w", topic, err)
	}
	for _, p := range res.Topics[topic] {
		if p.Error != nil {
			return fmt.Errorf("offsets of %s: %w", topic, p.Error)
		}
		if p.Partition == 0 {
			return &OutOfRange{Topic: topic, Offset: offset, First: p.FirstOffset, End: p.LastOffset}
		}
	}
	return fmt.Errorf("offsets of %s: no answer", topic)
}

func message(r *kafka.Record) (Message, error) {
	m := Message{Offset: r.Offset, Headers: make(map[string]string, len(r.Headers))}
	for _, h := range r.Headers {
		m.Headers[h.Key] = string(h.Value)
	}
	key, err := readAll(r.Key)
	if err != nil {
		return Message{}, err
	}
	m.Key = string(key)
	m.Value, err = readAll(r.Value)
	return m, err
}

// readAll drains and releases one part of a record; nil is empty.
func readAll(b kafka.Bytes) ([]byte, error) {
	if b == nil {
		return nil, nil
	}
	defer func() { _ = b.Close() }() // it lies in memory
	var buf bytes.Buffer
	buf.Grow(b.Len())
	_, err := buf.ReadFrom(b)
	return buf.Bytes(), err
}

func headers(hs map[string]string) []kafka.Header {
	out := make([]kafka.Header, 0, len(hs))
	for _, k := range headerOrder {
		if v, ok := hs[k]; ok {
			out = append(out, kafka.Header{Key: k, Value: []byte(v)})
		}
	}
	return out
}
