// Docker's own client, pkg/plugins, as the engine uses it: finds a plugin by its name in the engine's fixed
// directories, activates it, and calls it.
//
//	moby NAME EXTENSION-POINT METHOD ARGUMENTS-AS-JSON [METHOD ARGUMENTS...]
//
// It prints a line for each call: the answer as JSON, or "error: " and what the engine would say.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/docker/docker/pkg/plugins"
)

func main() {
	plugin, err := plugins.Get(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	for calls := os.Args[3:]; len(calls) > 1; calls = calls[2:] {
		var arguments, answer map[string]any
		if err := json.Unmarshal([]byte(calls[1]), &arguments); err != nil {
			panic(err)
		}
		if err := plugin.Client().Call(calls[0], arguments, &answer); err != nil {
			fmt.Println("error:", err)
			continue
		}
		line, _ := json.Marshal(answer)
		fmt.Println(string(line))
	}
}
