package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"meridian/instance/crm"
)

const (
	pace    = 200              // changes per second
	lasting = 10 * time.Second //
)

// benchExchange writes 200 companies a second at amer and measures from the
// time recorded in amer's history to the time recorded in emea's: both clocks
// are the same server's. Beside it, raw kafka-go at the same pace.
func benchExchange(ctx context.Context, w *world) ([]measure, error) {
	n := int(lasting.Seconds()) * pace
	amer, emea := w.nodes["amer"], w.nodes["emea"]
	if err := atPace(n, func(i int) error { return createTexan(ctx, w, amer, i) }); err != nil {
		return nil, err
	}
	sent, err := recorded(ctx, amer)
	if err != nil {
		return nil, err
	}
	var arrived map[string]time.Time
	for wait := time.Now().Add(time.Minute); ; {
		if arrived, err = recorded(ctx, emea); err != nil {
			return nil, err
		}
		if len(arrived) >= n {
			break
		}
		if time.Now().After(wait) {
			return nil, fmt.Errorf("%d of %d changes arrived", len(arrived), n)
		}
		time.Sleep(100 * time.Millisecond)
	}
	var ours sample
	for id, at := range arrived {
		ours = append(ours, at.Sub(sent[id]))
	}
	raw, err := rawKafka(ctx, w, n)
	if err != nil {
		return nil, err
	}
	return []measure{
		{name: fmt.Sprintf("commit to remote commit, %d changes/s", pace), measured: ours.String(), baseline: "raw kafka-go produce to consume " + raw.String(),
			ratio: ratio(ours.at(0.5), raw.at(0.5))},
		{name: "the same, p99 held to one second", measured: round(ours.at(0.99)).String(), baseline: "1 s", ratio: ours.at(0.99).Seconds(), limit: 1},
	}, nil
}

func createTexan(ctx context.Context, w *world, n *node, i int) error {
	fields := accountFields(20_000_000 + i)
	fields["state"] = crm.String("TX")
	return w.create(ctx, n, fields)
}

// recorded are the times of the Texan companies in an instance's history.
func recorded(ctx context.Context, n *node) (map[string]time.Time, error) {
	rows, err := n.pool.Query(ctx, "select id::text, at from history.account where territory = 'US-TX'")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string]time.Time{}
	for rows.Next() {
		var id string
		var at time.Time
		if err := rows.Scan(&id, &at); err != nil {
			return nil, err
		}
		out[id] = at
	}
	return out, rows.Err()
}

// atPace makes n calls at the pace, at most 32 at once.
func atPace(n int, call func(i int) error) error {
	tick := time.NewTicker(time.Second / pace)
	defer tick.Stop()
	var wg sync.WaitGroup
	var once sync.Once
	var failed error
	slots := make(chan struct{}, 32)
	for i := range n {
		<-tick.C
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := call(i); err != nil {
				once.Do(func() { failed = err })
			}
		})
	}
	wg.Wait()
	return failed
}

// rawKafka sends messages of an envelope's size at the same pace and measures
// from produce to consume, on the same broker.
func rawKafka(ctx context.Context, w *world, n int) (out sample, err error) {
	const topic = "bench.raw"
	brokers := w.kafka.Brokers()
	conn, err := kafka.DialContext(ctx, "tcp", brokers[0])
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := conn.CreateTopics(kafka.TopicConfig{Topic: topic, NumPartitions: 1, ReplicationFactor: 1}); err != nil {
		return nil, err
	}
	writer := &kafka.Writer{Addr: kafka.TCP(brokers...), Topic: topic, RequiredAcks: kafka.RequireAll, BatchTimeout: time.Millisecond}
	defer func() { err = errors.Join(err, writer.Close()) }()
	reader := kafka.NewReader(kafka.ReaderConfig{Brokers: brokers, Topic: topic, MinBytes: 1, MaxBytes: 10 << 20, MaxWait: 2 * time.Second})
	defer func() { err = errors.Join(err, reader.Close()) }()
	read := make(chan error, 1)
	go func() {
		for range n {
			m, err := reader.ReadMessage(ctx)
			if err != nil {
				read <- err
				return
			}
			var sent time.Time
			if err := sent.UnmarshalBinary(m.Key); err != nil {
				read <- err
				return
			}
			out = append(out, time.Since(sent))
		}
		read <- nil
	}()
	value := make([]byte, 1024)
	err = atPace(n, func(int) error {
		key, err := time.Now().MarshalBinary()
		if err != nil {
			return err
		}
		return writer.WriteMessages(ctx, kafka.Message{Key: key, Value: value})
	})
	if err != nil {
		return nil, err
	}
	if err := <-read; err != nil {
		return nil, err
	}
	return out, nil
}
