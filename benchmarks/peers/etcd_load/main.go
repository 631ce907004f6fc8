// Command etcdload puts load on an etcd cluster with etcd's own client. It obeys one JSON request a
// line on standard input and answers each with one line, as benchmarks/child.py describes, and
// measures exactly as benchmarks/workload.py does.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const (
	valueBytes = 128
	keys       = 1000
	// One HTTP/2 connection for this many outstanding requests.
	perConnection = 64
)

type request struct {
	Do          string   `json:"do"`
	Endpoints   []string `json:"endpoints"`
	Operation   string   `json:"operation"`
	Outstanding int      `json:"outstanding"`
	Seconds     float64  `json:"seconds"`
	Warmup      float64  `json:"warmup"`
	Entries     int64    `json:"entries"`
	Period      float64  `json:"period"`
	Limit       float64  `json:"limit"`
}

type sample struct {
	Operations int     `json:"operations"`
	Seconds    float64 `json:"seconds"`
	P50        float64 `json:"p50_ms"`
	P99        float64 `json:"p99_ms"`
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func key(number int64) string { return fmt.Sprintf("key-%d", number%keys) }

func connect(endpoints []string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints: endpoints, DialTimeout: 5 * time.Second, Logger: zap.NewNop(),
	})
}

func connections(endpoints []string, outstanding int) ([]*clientv3.Client, error) {
	clients := make([]*clientv3.Client, (outstanding+perConnection-1)/perConnection)
	for i := range clients {
		client, err := connect(endpoints)
		if err != nil {
			return nil, err
		}
		clients[i] = client
	}
	return clients, nil
}

func operate(client *clientv3.Client, operation string, number int64, value string) error {
	var err error
	if operation == "put" {
		_, err = client.Put(context.Background(), key(number), value)
	} else {
		_, err = client.Get(context.Background(), key(number))
	}
	return err
}

// each runs work on every outstanding slot at once and returns the first error.
func each(clients []*clientv3.Client, outstanding int, work func(slot int, client *clientv3.Client) error) error {
	var group sync.WaitGroup
	errs := make(chan error, outstanding)
	for slot := 0; slot < outstanding; slot++ {
		group.Add(1)
		go func(slot int) {
			defer group.Done()
			if err := work(slot, clients[slot%len(clients)]); err != nil {
				errs <- err
			}
		}(slot)
	}
	group.Wait()
	close(errs)
	return <-errs
}

func load(r request) (any, error) {
	clients, err := connections(r.Endpoints, r.Outstanding)
	if err != nil {
		return nil, err
	}
	defer closeAll(clients)
	value := strings.Repeat("\x00", valueBytes)
	begin := time.Now().Add(seconds(r.Warmup))
	end := begin.Add(seconds(r.Seconds))
	var next atomic.Int64
	latencies := make([][]time.Duration, r.Outstanding)
	err = each(clients, r.Outstanding, func(slot int, client *clientv3.Client) error {
		for {
			started := time.Now()
			if !started.Before(end) {
				return nil
			}
			if err := operate(client, r.Operation, next.Add(1), value); err != nil {
				return err
			}
			if done := time.Now(); !done.Before(begin) && done.Before(end) {
				latencies[slot] = append(latencies[slot], done.Sub(started))
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return summarize(latencies, r.Seconds), nil
}

func summarize(latencies [][]time.Duration, took float64) sample {
	var all []time.Duration
	for _, some := range latencies {
		all = append(all, some...)
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	percentile := func(fraction float64) float64 {
		if len(all) == 0 {
			return 0
		}
		at := int(fraction * float64(len(all)))
		if at >= len(all) {
			at = len(all) - 1
		}
		return float64(all[at]) / float64(time.Millisecond)
	}
	return sample{len(all), took, percentile(0.50), percentile(0.99)}
}

func fill(r request) (any, error) {
	clients, err := connections(r.Endpoints, r.Outstanding)
	if err != nil {
		return nil, err
	}
	defer closeAll(clients)
	value := strings.Repeat("\x00", valueBytes)
	var next atomic.Int64
	return nil, each(clients, r.Outstanding, func(_ int, client *clientv3.Client) error {
		for number := next.Add(1); number <= r.Entries; number = next.Add(1) {
			if err := operate(client, "put", number, value); err != nil {
				return err
			}
		}
		return nil
	})
}

var survivors []*clientv3.Client

// prepare connects to the nodes that will survive, so that no connection is set up while time runs.
func prepare(r request) (any, error) {
	for _, endpoint := range r.Endpoints {
		client, err := connect([]string{endpoint})
		if err != nil {
			return nil, err
		}
		if _, err := client.Put(context.Background(), "probe", ""); err != nil {
			return nil, err
		}
		survivors = append(survivors, client)
	}
	return nil, nil
}

// firstSuccess starts a put on every survivor each period; the wall clock (ns) of the first success.
func firstSuccess(r request) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), seconds(r.Limit))
	defer cancel()
	won := make(chan int64, 1)
	ticker := time.NewTicker(seconds(r.Period))
	defer ticker.Stop()
	for {
		for _, client := range survivors {
			go func(client *clientv3.Client) {
				if _, err := client.Put(ctx, "probe", ""); err == nil {
					select {
					case won <- time.Now().UnixNano():
					default:
					}
				}
			}(client)
		}
		select {
		case at := <-won:
			return at, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-ticker.C:
		}
	}
}

func closeAll(clients []*clientv3.Client) {
	for _, client := range clients {
		client.Close()
	}
}

func main() {
	handlers := map[string]func(request) (any, error){
		"load": load, "fill": fill, "prepare": prepare, "first_success": firstSuccess,
	}
	answers := json.NewEncoder(os.Stdout)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var r request
		err := json.Unmarshal(lines.Bytes(), &r)
		var value any
		if err == nil {
			if handler, known := handlers[r.Do]; known {
				value, err = handler(r)
			} else {
				err = fmt.Errorf("unknown request %q", r.Do)
			}
		}
		if err != nil {
			answers.Encode(map[string]any{"error": err.Error()})
		} else {
			answers.Encode(map[string]any{"ok": value})
		}
	}
}
