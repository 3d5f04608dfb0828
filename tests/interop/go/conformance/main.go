// What node/conformance/client.mjs does, with go-nostr.
//
// Each client has a process of its own: where an answer comes twice the library may panic, and one
// case must not pay for another.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip46"
)

const patience = 15 * time.Second

var errUnsupported = errors.New("the library has no such call")

type order struct {
	Number  int         `json:"number"`
	Client  string      `json:"client"`
	Do      string      `json:"do"`
	URI     string      `json:"uri"`
	Event   nostr.Event `json:"event"`
	Scheme  string      `json:"scheme"`
	Peer    string      `json:"peer"`
	Text    string      `json:"text"`
	Payload string      `json:"payload"`
}

var (
	clients sync.Map // by the kit's name
	output  sync.Mutex
)

func connect(name string, uri string) (*nip46.BunkerClient, error) {
	// Its subscription lives as long as this context; so it is cancelled only when nothing came.
	ctx, cancel := context.WithCancel(context.Background())
	late := time.AfterFunc(patience, cancel)
	defer late.Stop()
	pool := nostr.NewSimplePool(context.Background())
	client, err := nip46.ConnectBunker(ctx, nostr.GeneratePrivateKey(), uri, pool, func(url string) {
		tell(map[string]any{"client": name, "auth_url": url})
	})
	if err != nil {
		cancel()
		return nil, err
	}
	clients.Store(name, client)
	return client, nil
}

func obey(given order) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if given.Do == "connect" {
		client, err := connect(given.Client, given.URI)
		if err != nil {
			return nil, err
		}
		user, err := client.GetPublicKey(ctx)
		return map[string]string{"user": user}, err
	}
	found, ok := clients.Load(given.Client)
	if !ok {
		return nil, errUnsupported // invitations
	}
	client := found.(*nip46.BunkerClient)
	switch given.Do + " " + given.Scheme {
	case "sign ":
		err := client.SignEvent(ctx, &given.Event)
		return given.Event, err
	case "encrypt nip44":
		return client.NIP44Encrypt(ctx, given.Peer, given.Text)
	case "decrypt nip44":
		return client.NIP44Decrypt(ctx, given.Peer, given.Payload)
	case "encrypt nip04":
		return client.NIP04Encrypt(ctx, given.Peer, given.Text)
	case "decrypt nip04":
		return client.NIP04Decrypt(ctx, given.Peer, given.Payload)
	case "ping ":
		return nil, client.Ping(ctx)
	default:
		return nil, errUnsupported
	}
}

func tell(line map[string]any) {
	output.Lock()
	defer output.Unlock()
	if err := json.NewEncoder(os.Stdout).Encode(line); err != nil {
		panic(err)
	}
}

func lines(from io.Reader) *bufio.Scanner {
	scanner := bufio.NewScanner(from)
	scanner.Buffer(nil, 8<<20)
	return scanner
}

// serve does as the lines of its input say, for one client.
func serve() {
	orders := lines(os.Stdin)
	for orders.Scan() {
		var given order
		if err := json.Unmarshal(orders.Bytes(), &given); err != nil {
			panic(err)
		}
		go func() {
			result, err := obey(given)
			switch {
			case errors.Is(err, errUnsupported):
				tell(map[string]any{"answered": given.Number, "unsupported": true})
			case err != nil:
				tell(map[string]any{"answered": given.Number, "error": err.Error()})
			default:
				tell(map[string]any{"answered": given.Number, "result": result})
			}
		}()
	}
}

// started runs a process for one client, copies what it prints, and returns its input.
func started() (io.WriteCloser, error) {
	child := exec.Command(os.Args[0], "one")
	child.Stderr = os.Stderr
	input, err := child.StdinPipe()
	if err != nil {
		return nil, err
	}
	answers, err := child.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := child.Start(); err != nil {
		return nil, err
	}
	go func() {
		printed := lines(answers)
		for printed.Scan() {
			output.Lock()
			os.Stdout.Write(append(printed.Bytes(), '\n'))
			output.Unlock()
		}
		child.Wait()
	}()
	return input, nil
}

func main() {
	if len(os.Args) > 1 {
		runtime.GOMAXPROCS(1) // see ../main.go
		serve()
		return
	}
	inputs := map[string]io.WriteCloser{}
	orders := lines(os.Stdin)
	for orders.Scan() {
		var given order
		if err := json.Unmarshal(orders.Bytes(), &given); err != nil {
			panic(err)
		}
		input, ok := inputs[given.Client]
		if !ok {
			made, err := started()
			if err != nil {
				panic(err)
			}
			input, inputs[given.Client] = made, made
		}
		input.Write(append(orders.Bytes(), '\n')) // one that has ended answers no more
	}
}
