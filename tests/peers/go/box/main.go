// All that the tests' containers can do: the one program of their image.
package main

import (
	"fmt"
	"os"
	"time"
)

func main() {
	switch act, arguments := os.Args[1], os.Args[2:]; act {
	case "write":
		check(os.WriteFile(arguments[0], []byte(arguments[1]), 0o644))
	case "read":
		content, err := os.ReadFile(arguments[0])
		check(err)
		os.Stdout.Write(content)
	case "say":
		say(arguments)
	case "sleep":
		say(arguments)
		time.Sleep(time.Hour)
	}
}

func say(lines []string) {
	for _, line := range lines {
		fmt.Println(line)
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
