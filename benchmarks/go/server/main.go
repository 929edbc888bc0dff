// The plugin under load: a Go server of a few lines that implements VolumeDriver.Get.
//
//	server -listen unix:///path/of/a.sock -count 1 -padding 0
//	server -listen tcp://127.0.0.1:0
//	server -listen https://127.0.0.1:0 -ca /path/of/ca.pem
//
// With -count it listens on that many sockets, 0000.sock and so on, in the directory given by -listen. Over https it
// creates its own certificate and writes it to the file given by -ca. It prints its address, and exits at the end of its
// input.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

type volume struct {
	Name       string
	Mountpoint string
	Status     map[string]string `json:",omitempty"`
}

type reply struct {
	Volume volume
	Err    string
}

func main() {
	listen := flag.String("listen", "", "unix://PATH, tcp://HOST:PORT or https://HOST:PORT")
	count := flag.Int("count", 0, "listen at so many sockets in the directory")
	padding := flag.Int("padding", 0, "bytes in the answer beside the rest")
	ca := flag.String("ca", "", "the file for the certificate")
	flag.Parse()

	var status map[string]string
	if *padding > 0 {
		status = map[string]string{"padding": strings.Repeat("x", *padding)}
	}
	http.HandleFunc("/Plugin.Activate", func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(map[string][]string{"Implements": {"VolumeDriver"}})
	})
	http.HandleFunc("/VolumeDriver.Get", func(w http.ResponseWriter, r *http.Request) {
		var asked struct{ Name string }
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		json.NewEncoder(w).Encode(reply{Volume: volume{asked.Name, "/mnt/" + asked.Name, status}})
	})

	address, err := url.Parse(*listen)
	check(err)
	if *count > 0 {
		for index := 0; index < *count; index++ {
			socket, err := net.Listen("unix", filepath.Join(address.Path, fmt.Sprintf("%04d.sock", index)))
			check(err)
			go http.Serve(socket, nil)
		}
		fmt.Println(*listen)
	} else if address.Scheme == "unix" {
		socket, err := net.Listen("unix", address.Path)
		check(err)
		go http.Serve(socket, nil)
		fmt.Println(*listen)
	} else {
		socket, err := net.Listen("tcp", address.Host)
		check(err)
		fmt.Printf("%s://%s\n", address.Scheme, socket.Addr())
		if address.Scheme == "https" {
			socket = tls.NewListener(socket, &tls.Config{Certificates: []tls.Certificate{certificate(*ca)}})
		}
		go http.Serve(socket, nil)
	}
	io.Copy(io.Discard, os.Stdin)
}

func certificate(file string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	template := x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "benchmarks"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	signed, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	check(err)
	check(os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}), 0o600))
	return tls.Certificate{Certificate: [][]byte{signed}, PrivateKey: key}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
