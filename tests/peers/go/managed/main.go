// A managed volume plugin of Docker's: the one program in its root file system.
//
//	managed vol.sock [handshake]
//
// It listens in /run/docker/plugins, and answers the handshake only if told to: Docker's engine does not make one.
// Its volumes are tmpfs in /mnt/state, each with a file "one".
package main

import (
	"encoding/json"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
)

const root = "/mnt/state"

type volume struct {
	Name       string
	Mountpoint string `json:",omitempty"`
}

var (
	lock    sync.Mutex
	volumes = map[string]*volume{}
)

func main() {
	if len(os.Args) > 2 && os.Args[2] == "handshake" {
		http.HandleFunc("/Plugin.Activate", answer(func(string) any {
			return map[string]any{"Implements": []string{"VolumeDriver"}}
		}))
	}
	http.HandleFunc("/VolumeDriver.Create", answer(func(name string) any {
		volumes[name] = &volume{Name: name}
		return map[string]any{}
	}))
	http.HandleFunc("/VolumeDriver.Mount", answer(func(name string) any {
		path := filepath.Join(root, name)
		check(os.MkdirAll(path, 0o755))
		check(syscall.Mount("tmpfs", path, "tmpfs", 0, ""))
		check(os.WriteFile(filepath.Join(path, "one"), []byte("a picture"), 0o644))
		volumes[name].Mountpoint = path
		return map[string]any{"Mountpoint": path}
	}))
	http.HandleFunc("/VolumeDriver.List", answer(func(string) any {
		all := []*volume{}
		for _, each := range volumes {
			all = append(all, each)
		}
		return map[string]any{"Volumes": all}
	}))
	stopping := make(chan os.Signal, 1)
	signal.Notify(stopping, syscall.SIGTERM) // ignored by the first process of a container otherwise
	go func() {
		<-stopping
		os.Exit(0)
	}()
	listener, err := net.Listen("unix", filepath.Join("/run/docker/plugins", os.Args[1]))
	check(err)
	log.Fatal(http.Serve(listener, nil))
}

func answer(act func(name string) any) http.HandlerFunc {
	return func(writer http.ResponseWriter, request *http.Request) {
		lock.Lock()
		defer lock.Unlock()
		var asked struct{ Name string }
		json.NewDecoder(request.Body).Decode(&asked)
		json.NewEncoder(writer).Encode(act(asked.Name))
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
