//go:build kafka

package embeddedtest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"meridian/instance/embedded"
)

const (
	kafkaVersion = "4.4.0"
	// A calm machine needs 4 s; one that also runs the tests of all other
	// packages on two cores needs a minute.
	kafkaPatience = 2 * time.Minute
)

var apache struct {
	once    sync.Once
	brokers []string
	err     error
	start   func() error // starts the broker on what its folder holds
	process *embedded.Process
}

// ApacheKafka returns the brokers of this process's real Apache Kafka: one
// KRaft node of the jars of Maven Central, fetched once into the user's cache.
func ApacheKafka(t testing.TB) []string {
	t.Helper()
	apache.once.Do(func() { apache.brokers, apache.err = startApacheKafka() })
	if apache.err != nil {
		t.Fatal(apache.err)
	}
	return apache.brokers
}

func startApacheKafka() ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), kafkaPatience)
	defer cancel()
	jars, err := kafkaJars(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "meridian-kafka-")
	if err != nil {
		return nil, err
	}
	servers.others = append(servers.others, func() error { return os.RemoveAll(dir) })
	broker, controller, err := twoPorts()
	if err != nil {
		return nil, err
	}
	properties := filepath.Join(dir, "server.properties")
	if err := os.WriteFile(properties, []byte(kafkaProperties(dir, broker, controller)), 0o600); err != nil {
		return nil, err
	}
	java := func(class string, args ...string) *exec.Cmd {
		cmd := exec.Command("java", append([]string{"-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-cp", filepath.Join(jars, "*"), class}, args...)...)
		cmd.Env = append(os.Environ(), "LOG_DIR="+dir)
		return cmd
	}
	if out, err := java("kafka.tools.StorageTool", "format", "-t", clusterID(), "-c", properties).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("format the storage of Apache Kafka: %w: %s", err, out)
	}
	servers.others = append(servers.others, func() error {
		if apache.process == nil {
			return nil
		}
		return apache.process.Stop(syscall.SIGKILL, time.Second)
	})
	apache.start = func() error {
		ctx, cancel := context.WithTimeout(context.Background(), kafkaPatience)
		defer cancel()
		log, err := os.Create(filepath.Join(dir, "log"))
		if err != nil {
			return err
		}
		defer log.Close() // the child has its own
		cmd := java("kafka.Kafka", properties)
		cmd.Stdout, cmd.Stderr = log, log
		if apache.process, err = embedded.StartProcess(cmd, syscall.SIGKILL); err != nil {
			return err
		}
		return awaitKafka(ctx, apache.process, broker, log.Name())
	}
	return []string{broker}, apache.start()
}

// RestartApacheKafka kills the broker that ApacheKafka started and starts it
// again, at the same address, on what it kept. Tests that run beside it notice.
func RestartApacheKafka(t testing.TB) {
	t.Helper()
	if err := apache.process.Stop(syscall.SIGKILL, time.Second); err != nil {
		t.Fatal(err)
	}
	if err := apache.start(); err != nil {
		t.Fatal(err)
	}
}

// awaitKafka waits until the broker takes connections, which it does last.
func awaitKafka(ctx context.Context, p *embedded.Process, broker, log string) error {
	for {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", broker)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.Done():
			text, _ := os.ReadFile(log) // only to say more
			return fmt.Errorf("the Kafka broker ended: %w: %s", p.Err(), text)
		case <-ctx.Done():
			return fmt.Errorf("the Kafka broker does not answer: %w", errors.Join(err, ctx.Err()))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// kafkaJars fetches the broker once; a folder of jars is renamed into place
// whole.
func kafkaJars(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "meridian", "kafka-"+kafkaVersion)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	fresh, err := os.MkdirTemp(filepath.Dir(dir), "fetch-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(fresh) // what is left is only disc space
	pom := filepath.Join(fresh, "pom.xml")
	if err := os.WriteFile(pom, []byte(kafkaPOM), 0o600); err != nil {
		return "", err
	}
	jars := filepath.Join(fresh, "jars")
	cmd := exec.CommandContext(ctx, "mvn", "-q", "-B", "-f", pom, "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+jars)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("fetch Apache Kafka %s with Maven: %w: %s", kafkaVersion, err, out)
	}
	if err := os.Rename(jars, dir); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return dir, nil
}

// clusterID is 16 random bytes as Kafka writes them; it must not begin with a
// hyphen, which would be read as an option.
func clusterID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // it does not fail
	b[0] = 1
	return base64.RawURLEncoding.EncodeToString(b)
}

func twoPorts() (broker, controller string, err error) {
	var listeners [2]net.Listener
	for i := range listeners { // both open at once, so that they differ
		if listeners[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return "", "", err
		}
	}
	broker, controller = listeners[0].Addr().String(), listeners[1].Addr().String()
	return broker, controller, errors.Join(listeners[0].Close(), listeners[1].Close())
}

func kafkaProperties(dir, broker, controller string) string {
	return strings.NewReplacer("{dir}", dir, "{broker}", broker, "{controller}", controller).Replace(`process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{controller}
listeners=PLAINTEXT://{broker},CONTROLLER://{controller}
advertised.listeners=PLAINTEXT://{broker}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={dir}/data
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=2
background.threads=2
log.cleaner.dedupe.buffer.size=16777216
log.segment.bytes=67108864
`)
}

const kafkaPOM = `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
 <groupId>meridian</groupId><artifactId>kafka</artifactId><version>1</version><dependencies>
 <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>` + kafkaVersion + `</version></dependency>
 <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.3</version></dependency>
</dependencies></project>
`
