// moby's client, pkg/plugins of Docker's engine, as a contender.
//
//	client call ADDRESS [CA-FILE]
//	client getall DIRECTORY
//
// The first writes that it is ready, then reads rounds, one per line: {"threads": 1, "calls": 200}. It makes that many
// calls of VolumeDriver.Get in that many goroutines and prints the duration of each in nanoseconds. The second activates
// all plugins of a directory once and prints the duration and the number of plugins.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"
	_ "unsafe" // for go:linkname

	"github.com/docker/docker/pkg/plugins"
	"github.com/docker/go-connections/tlsconfig"
)

// The client's directory of sockets is fixed. This program's plugins are elsewhere.
//
//go:linkname socketsPath github.com/docker/docker/pkg/plugins.socketsPath
var socketsPath string

type round struct {
	Threads int `json:"threads"`
	Calls   int `json:"calls"`
}

type request struct{ Name string }

// What the engine reads of this reply (moby volume/drivers/proxy.go).
type reply struct {
	Volume struct {
		Name       string
		Mountpoint string
		CreatedAt  string
		Status     map[string]any
	}
	Err string
}

func main() {
	output := json.NewEncoder(os.Stdout)
	if os.Args[1] == "getall" {
		socketsPath = os.Args[2]
		started := time.Now()
		found, err := plugins.GetAll("VolumeDriver")
		check(err)
		output.Encode(map[string]any{"ns": time.Since(started).Nanoseconds(), "found": len(found)})
		return
	}
	var options *tlsconfig.Options
	if len(os.Args) > 3 {
		options = &tlsconfig.Options{CAFile: os.Args[3]}
	}
	client, err := plugins.NewClient(os.Args[2], options)
	check(err)
	call(client)
	output.Encode(map[string]string{"ready": "moby pkg/plugins"})
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		var asked round
		check(json.Unmarshal(input.Bytes(), &asked))
		times, elapsed := measure(client, asked)
		output.Encode(map[string]any{"times": times, "seconds": elapsed.Seconds()})
	}
}

func call(client *plugins.Client) {
	var answer reply
	check(client.Call("VolumeDriver.Get", request{"photos"}, &answer))
	if answer.Volume.Name != "photos" || answer.Err != "" {
		check(fmt.Errorf("unexpected answer: %v", answer))
	}
}

func measure(client *plugins.Client, asked round) ([]int64, time.Duration) {
	share := asked.Calls / asked.Threads
	times := make([]int64, share*asked.Threads)
	var running sync.WaitGroup
	started := time.Now()
	for index := 0; index < asked.Threads; index++ {
		running.Add(1)
		go func(mine []int64) {
			defer running.Done()
			for number := range mine {
				before := time.Now()
				call(client)
				mine[number] = time.Since(before).Nanoseconds()
			}
		}(times[index*share : (index+1)*share])
	}
	running.Wait()
	return times, time.Since(started)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
