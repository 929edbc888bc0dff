// Prints what the engine shows authorization plugins of each HTTP request on standard input, one JSON object a line.
//
// Standard input is a JSON array of requests, each a string of bytes in base64.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/docker/docker/pkg/authorization"
)

type recorder struct{ request *authorization.Request }

func (r *recorder) Name() string { return "recorder" }

func (r *recorder) AuthZRequest(request *authorization.Request) (*authorization.Response, error) {
	r.request = request
	return &authorization.Response{Allow: true}, nil
}

func (r *recorder) AuthZResponse(*authorization.Request) (*authorization.Response, error) {
	return &authorization.Response{Allow: true}, nil
}

func main() {
	var requests [][]byte
	if err := json.NewDecoder(os.Stdin).Decode(&requests); err != nil {
		panic(err)
	}
	out := json.NewEncoder(os.Stdout)
	for _, raw := range requests {
		shown := &recorder{}
		if request, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw))); err == nil {
			ctx := authorization.NewCtx([]authorization.Plugin{shown}, "", "", request.Method, request.RequestURI)
			if err := ctx.AuthZRequest(httptest.NewRecorder(), request); err != nil {
				panic(err)
			}
		}
		if err := out.Encode(shown.request); err != nil {
			panic(err)
		}
	}
}
