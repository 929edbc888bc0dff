// A plugin as Go's standard library makes one, which implements "Echo":
//
//	echo -socket /run/docker/plugins/echo.sock
//	echo -listen 127.0.0.1:0 -cert server.pem -key server.key -clients ca.pem
//
// It prints where it listens, and then nothing more.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
)

type request struct {
	Text  string
	Count int
}

var connections int64

func main() {
	socket := flag.String("socket", "", "path of a unix socket")
	address := flag.String("listen", "", "host:port, for TLS")
	certificate := flag.String("cert", "", "file with the certificate")
	key := flag.String("key", "", "file with its key")
	clients := flag.String("clients", "", "file with the authority of clients, who must then have a certificate")
	flag.Parse()

	http.HandleFunc("/Plugin.Activate", answer(func(request) any {
		return map[string]any{"Implements": []string{"Echo"}}
	}))
	http.HandleFunc("/Echo.Say", answer(func(asked request) any {
		return map[string]any{"Text": asked.Text}
	}))
	http.HandleFunc("/Echo.List", answer(func(asked request) any {
		return map[string]any{"Lines": strings.Split(strings.Repeat(asked.Text+"\n", asked.Count), "\n")[:asked.Count]}
	}))
	http.HandleFunc("/Echo.Connections", answer(func(request) any {
		return map[string]any{"Connections": atomic.LoadInt64(&connections)}
	}))
	http.HandleFunc("/Echo.Panic", func(http.ResponseWriter, *http.Request) {
		panic(http.ErrAbortHandler) // net/http drops the connection
	})

	server := &http.Server{ConnState: func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			atomic.AddInt64(&connections, 1)
		}
	}}
	if *socket != "" {
		log.Fatal(server.Serve(listen("unix", *socket)))
	}
	server.TLSConfig = verifying(*clients)
	log.Fatal(server.ServeTLS(listen("tcp", *address), *certificate, *key))
}

func listen(network, address string) net.Listener {
	listener, err := net.Listen(network, address)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr())
	return listener
}

func verifying(clients string) *tls.Config {
	if clients == "" {
		return nil
	}
	pem, err := os.ReadFile(clients)
	if err != nil {
		log.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &tls.Config{ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
}

// answer makes an HTTP handler of a function from what was asked to what is answered.
func answer(function func(request) any) http.HandlerFunc {
	return func(writer http.ResponseWriter, received *http.Request) {
		var asked request
		if received.ContentLength != 0 {
			if err := json.NewDecoder(received.Body).Decode(&asked); err != nil {
				http.Error(writer, err.Error(), http.StatusBadRequest)
				return
			}
		}
		json.NewEncoder(writer).Encode(function(asked))
	}
}
