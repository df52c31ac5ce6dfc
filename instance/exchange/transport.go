package exchange

import (
	"context"
	"fmt"
)

// Transport is what exchange asks of a log broker. Every topic has one
// partition: order is per stream, and a stream is one destination's view of one
// entity. It exists as an interface because the Kafka client at hand is at
// risk (docs/adr); its contract is the suite in transport_test.go.
type Transport interface {
	// CreateTopic makes the topic unless it is there, and returns once it can be
	// written and read.
	CreateTopic(ctx context.Context, topic string) error
	// Produce appends messages in order and returns once every replica in sync
	// has them. On an error some may have been appended: send the same again.
	Produce(ctx context.Context, topic string, messages []Message) error
	// Fetch returns messages from offset on, waiting a while for the first; none
	// is not an error. An offset that the topic does not have, or no longer has,
	// is an *OutOfRange, never a jump.
	Fetch(ctx context.Context, topic string, offset int64) (Fetched, error)
	Close() error
}

// Message is one message of a topic.
type Message struct {
	Key     string
	Value   []byte
	Headers map[string]string
	Offset  int64 // set by Fetch
}

// Fetched is what a Fetch brought.
type Fetched struct {
	Messages []Message
	Next     int64 // offset to go on from
	End      int64 // offset after the last message of the topic
}

// OutOfRange says that a topic does not have the offset asked for: retention
// passed it, or the topic was lost and made anew.
type OutOfRange struct {
	Topic              string
	Offset, First, End int64
}

func (e *OutOfRange) Error() string {
	return fmt.Sprintf("topic %s has offsets %d to %d, not %d", e.Topic, e.First, e.End, e.Offset)
}

// UnknownTopic says that nobody has made the topic yet.
type UnknownTopic struct{ Topic string }

func (e *UnknownTopic) Error() string { return "topic " + e.Topic + " does not exist" }

// Headers let a message be routed, counted and traced without decoding it.
const (
	headerOperation   = "operation"
	headerSequence    = "sequence"
	headerEpoch       = "epoch"
	headerContract    = "contract"
	headerTraceparent = "traceparent"
)

var headerOrder = []string{headerOperation, headerSequence, headerEpoch, headerContract, headerTraceparent}
