// A HashiCorp raft server for braft's mixed-cluster tests.
//
// It keeps everything in memory; its state is the list of commands applied, as JSON in snapshots.
// It is steered by lines on stdin and answers each with one JSON line on stdout.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	transport "github.com/Jille/raft-grpc-transport"
	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const patience = 20 * time.Second

// machine is the state machine: the commands in the order applied.
type machine struct {
	mutex   sync.Mutex
	applied [][]byte
}

func (m *machine) Apply(entry *raft.Log) any {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.applied = append(m.applied, entry.Data)
	return len(m.applied)
}

func (m *machine) copied() [][]byte {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return append([][]byte{}, m.applied...)
}

func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	return snapshot(m.copied()), nil
}

func (m *machine) Restore(contents io.ReadCloser) error {
	defer contents.Close()
	var applied [][]byte
	if err := json.NewDecoder(contents).Decode(&applied); err != nil {
		return err
	}
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.applied = applied
	return nil
}

type snapshot [][]byte

func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if err := json.NewEncoder(sink).Encode([][]byte(s)); err != nil {
		sink.Cancel()
		return err
	}
	return sink.Close()
}

func (s snapshot) Release() {}

func main() {
	id := flag.String("id", "", "server id")
	address := flag.String("address", "", "host:port to listen on and to be known by")
	flag.Parse()
	if err := run(*id, *address); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(id, address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	config := raft.DefaultConfig()
	config.LocalID = raft.ServerID(id)
	config.LogOutput = os.Stderr
	// So long that a leader stays one while its followers, or this process, stand still for a while.
	config.HeartbeatTimeout = 4 * time.Second
	config.ElectionTimeout = 4 * time.Second
	config.LeaderLeaseTimeout = 4 * time.Second
	config.TrailingLogs = 2
	state := &machine{}
	store := raft.NewInmemStore()
	snapshots := raft.NewInmemSnapshotStore()
	manager := transport.New(raft.ServerAddress(address), []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
	})
	node, err := raft.NewRaft(config, state, store, store, snapshots, manager.Transport())
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	manager.Register(server)
	go func() { _ = server.Serve(listener) }()

	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	answers := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		answer, err := obey(node, state, config.LocalID, strings.Fields(lines.Text()))
		if err != nil {
			answer = map[string]any{"error": err.Error()}
		}
		if err := answers.Encode(answer); err != nil {
			return err
		}
	}
	server.Stop()
	return node.Shutdown().Error()
}

// obey runs one line: a command and its arguments.
func obey(node *raft.Raft, state *machine, id raft.ServerID, line []string) (any, error) {
	done := map[string]any{}
	switch {
	case len(line) == 1 && line[0] == "status":
		leader, leaderID := node.LeaderWithID()
		return map[string]any{
			"state": node.State().String(), "term": node.CurrentTerm(), "leader": leaderID,
			"leader_address": leader, "commit": node.CommitIndex(), "last": node.LastIndex(),
			"applied": state.copied(),
		}, nil
	case len(line) > 1 && line[0] == "bootstrap":
		var servers []raft.Server
		for i := 1; i+1 < len(line); i += 2 {
			servers = append(servers, raft.Server{
				ID: raft.ServerID(line[i]), Address: raft.ServerAddress(line[i+1]),
			})
		}
		return done, node.BootstrapCluster(raft.Configuration{Servers: servers}).Error()
	case len(line) == 3 && line[0] == "add":
		return done, node.AddVoter(
			raft.ServerID(line[1]), raft.ServerAddress(line[2]), 0, patience).Error()
	case len(line) == 2 && line[0] == "apply":
		text, err := strconv.Unquote(line[1])
		if err != nil {
			return nil, err
		}
		return done, node.Apply([]byte(text), patience).Error()
	case len(line) == 1 && line[0] == "snapshot":
		return done, node.Snapshot().Error()
	case len(line) == 3 && line[0] == "transfer":
		return done, node.LeadershipTransferToServer(
			raft.ServerID(line[1]), raft.ServerAddress(line[2])).Error()
	}
	return nil, fmt.Errorf("not a command: %q", line)
}
