// moby's client, pkg/plugins of Docker's engine, calls plugins that give canned answers.
//
// Reads lines of JSON, {"name": ..., "address": ...}, and calls all of these plugins at once, twice each. Prints a line
// for each:
//
//	{"name": ..., "reply": "{}"}    the reply as JSON, cut after 200 bytes
//	{"name": ..., "error": "..."}   what the engine would show, also if it is in Err of a reply with status 200
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/docker/docker/pkg/plugins"
	"github.com/sirupsen/logrus"
)

type plugin struct {
	Name    string `json:"name"`
	Address string `json:"address"`
}

type outcome struct {
	Name  string `json:"name"`
	Reply string `json:"reply,omitempty"`
	Error string `json:"error,omitempty"`
	// Whether the error is in Err of a reply with status 200.
	Reported bool `json:"reported,omitempty"`
}

type reported struct{ error }

// Keeps the first JSON value of a body as it came.
type value struct{ text []byte }

func (v *value) UnmarshalJSON(text []byte) error {
	// As the types of the engine's replies are.
	var reply struct{ Err string }
	if err := json.Unmarshal(text, &reply); err != nil {
		return err
	}
	v.text = append(v.text[:0], text...)
	return nil
}

func main() {
	logrus.SetOutput(io.Discard)
	output := json.NewEncoder(os.Stdout)
	var lock sync.Mutex
	var all sync.WaitGroup
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		var one plugin
		if err := json.Unmarshal(input.Bytes(), &one); err != nil {
			panic(err)
		}
		all.Add(1)
		go func() {
			defer all.Done()
			came := called(one)
			lock.Lock()
			defer lock.Unlock()
			output.Encode(came)
		}()
	}
	all.Wait()
}

func called(one plugin) outcome {
	client, err := plugins.NewClient(one.Address, nil)
	if err != nil {
		panic(err)
	}
	came := outcome{Name: one.Name}
	came.Reply, err = reply(client)
	if err != nil {
		came.Error = err.Error()
		_, came.Reported = err.(reported)
		if came.Error == "" {
			came.Error = "(an error without words)"
		}
		return came
	}
	// The transport puts the connection back when the body was read or closed.
	time.Sleep(2 * time.Second)
	reply(client)
	return came
}

func reply(client *plugins.Client) (string, error) {
	var first value
	arguments := map[string]string{"Name": "photos"}
	if err := client.CallWithOptions("VolumeDriver.Get", arguments, &first, plugins.WithRequestTimeout(5*time.Second)); err != nil {
		return "", err
	}
	var report struct{ Err string }
	json.Unmarshal(first.text, &report)
	if report.Err != "" {
		return "", reported{errors.New(report.Err)}
	}
	read := map[string]any{}
	if first.text != nil {
		if err := json.Unmarshal(first.text, &read); err != nil {
			return "", err
		}
	}
	text, err := json.Marshal(read)
	if len(text) > 200 {
		text = text[:200]
	}
	return string(text), err
}
