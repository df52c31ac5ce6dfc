package exchange

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"meridian/instance/crm"
)

// topicKind is a kind of topic that an instance appends to.
type topicKind struct {
	pattern    string
	operations []crm.Op // what a message there can be
}

var (
	// recordTopic is one destination's view of one entity.
	recordTopic = topicKind{"meridian.{source}.{destination}.{entity}.v1",
		[]crm.Op{crm.OpSnapshot, crm.OpUpsert, crm.OpRetract, crm.OpDelete, crm.OpWatermark, crm.OpGap}}
	// controlTopic is where a destination asks a source to repair what it misses,
	// and tells it what it applied.
	controlTopic = topicKind{"meridian.{destination}.{source}.control.v1", []crm.Op{crm.OpGap, crm.OpReceipt}}
)

// Topics is the registry of what leaves this instance: every kind of topic with
// every operation. The leak matrix of instance/api fails for an entry that it
// does not try.
func Topics() []string {
	var out []string
	for _, k := range []topicKind{recordTopic, controlTopic} {
		for _, op := range k.operations {
			out = append(out, k.entry(op))
		}
	}
	return out
}

// entry is how the registry names an operation in a kind of topic.
func (k topicKind) entry(op crm.Op) string { return k.pattern + " " + string(op) }

// control is the entity part of a control topic's name.
const control = "control"

// streamName is the topic of what source lets destination hold of entity.
func streamName(source, destination, entity string) string {
	return strings.Join([]string{"meridian", source, destination, entity, "v1"}, ".")
}

// kindOf is the kind of a topic by its name.
func kindOf(topic string) topicKind {
	if strings.HasSuffix(topic, "."+control+".v1") {
		return controlTopic
	}
	return recordTopic
}

// Entry is the registry's entry for a message of a topic.
func Entry(topic string, m Message) string {
	return kindOf(topic).entry(crm.Op(m.Headers[headerOperation]))
}

// append is the only way into a topic: nothing enters that the registry does
// not name, so that nothing leaves that the leak matrix does not try.
func (e *Exchange) append(ctx context.Context, topic string, ms []Message) error {
	k := kindOf(topic)
	for _, m := range ms {
		if op := m.Headers[headerOperation]; !slices.Contains(k.operations, crm.Op(op)) {
			return fmt.Errorf("topic %s takes no %q: name it in the registry of topics", topic, op)
		}
	}
	return e.transport.Produce(ctx, topic, ms)
}
