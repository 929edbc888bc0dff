// moby's client, pkg/plugins of Docker's engine, for the comparison of faults.
//
//	moby DIRECTORY
//
// Reads steps, one line of JSON each, and prints the outcome and the duration of each as a line.
//
//	{"do": "get", "name": "p"}              activates a plugin and prints its name
//	{"do": "getall"}                        activates all plugins and prints their names
//	{"do": "call", "name": "p", "method": "VolumeDriver.Get", "arguments": {"Name": "a"}}
//	{"do": "call", "address": "unix:///p.sock", ...}   without activation
//	{"do": "handle"}                        registers a handler that calls plugins.Get for its own plugin
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"
	_ "unsafe" // for go:linkname

	"github.com/docker/docker/pkg/plugins"
	"github.com/sirupsen/logrus"
)

// The client's directories are fixed. The plugins of this program are elsewhere.
//
//go:linkname socketsPath github.com/docker/docker/pkg/plugins.socketsPath
var socketsPath string

//go:linkname specsPaths github.com/docker/docker/pkg/plugins.specsPaths
var specsPaths []string

const point = "VolumeDriver"

type step struct {
	Do, Name, Address, Method string
	Arguments                 map[string]any
}

type outcome struct {
	Seconds float64        `json:"seconds"`
	Error   string         `json:"error"`
	Found   []string       `json:"found"`
	Answer  map[string]any `json:"answer"`
}

func main() {
	socketsPath, specsPaths = os.Args[1], os.Args[1:2]
	logrus.SetOutput(io.Discard)
	output := json.NewEncoder(os.Stdout)
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		var asked step
		if err := json.Unmarshal(input.Bytes(), &asked); err != nil {
			panic(err)
		}
		output.Encode(taken(asked))
	}
}

func taken(asked step) (came outcome) {
	started := time.Now()
	var err error
	switch asked.Do {
	case "get":
		var plugin *plugins.Plugin
		if plugin, err = plugins.Get(asked.Name, point); err == nil {
			came.Found = []string{plugin.Name()}
		}
	case "getall":
		var all []*plugins.Plugin
		all, err = plugins.GetAll(point)
		for _, plugin := range all {
			came.Found = append(came.Found, plugin.Name())
		}
	case "call":
		came.Answer, err = called(asked)
	case "handle":
		plugins.Handle(point, func(name string, _ *plugins.Client) { plugins.Get(name, point) })
	default:
		err = fmt.Errorf("no step %q", asked.Do)
	}
	came.Seconds = time.Since(started).Seconds()
	if err != nil {
		came.Error = err.Error()
	}
	return
}

func called(asked step) (answer map[string]any, err error) {
	var client *plugins.Client
	if asked.Address != "" {
		client, err = plugins.NewClient(asked.Address, nil)
	} else if plugin, missing := plugins.Get(asked.Name, point); missing == nil {
		client = plugin.Client()
	} else {
		err = missing
	}
	if err != nil {
		return nil, err
	}
	err = client.CallWithOptions(asked.Method, asked.Arguments, &answer, plugins.WithRequestTimeout(timeout(asked.Method)))
	return answer, err
}

// What the engine waits for a volume plugin (moby volume/drivers/proxy.go).
func timeout(method string) time.Duration {
	if method == "VolumeDriver.Create" || method == "VolumeDriver.Mount" {
		return 2 * time.Minute
	}
	return time.Minute
}
