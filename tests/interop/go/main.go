// What node/driven.mjs does, with go-nostr.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip46"
)

const patience = 60 * time.Second

type order struct {
	Number  int    `json:"number"`
	Do      string `json:"do"`
	URI     string `json:"uri"`
	Kind    int    `json:"kind"`
	Content string `json:"content"`
	Peer    string `json:"peer"`
	Payload string `json:"payload"`
}

var (
	client *nip46.BunkerClient
	output sync.Mutex
)

func obey(given order) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	switch given.Do {
	case "connect":
		key := nostr.GeneratePrivateKey()
		pubkey, err := nostr.GetPublicKey(key)
		if err != nil {
			return nil, err
		}
		pool := nostr.NewSimplePool(context.Background())
		// Its subscription lives as long as this context: until the process ends.
		made, err := nip46.ConnectBunker(context.Background(), key, given.URI, pool, func(string) {})
		if err != nil {
			return nil, err
		}
		client = made
		user, err := client.GetPublicKey(ctx)
		return map[string]string{"client": pubkey, "user": user}, err
	case "sign":
		event := nostr.Event{
			Kind: given.Kind, Content: given.Content, Tags: nostr.Tags{}, CreatedAt: nostr.Now(),
		}
		err := client.SignEvent(ctx, &event)
		return event, err
	default:
		return client.NIP44Decrypt(ctx, given.Peer, given.Payload)
	}
}

func tell(line map[string]any) {
	output.Lock()
	defer output.Unlock()
	// By hand, so that "answered" stands first.
	number := line["answered"]
	delete(line, "answered")
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	fmt.Printf("{\"answered\":%v,%s\n", number, text[1:])
}

func main() {
	// Where two goroutines really run at once, a call of go-nostr 0.38 may miss the word that its
	// request was sent, and then waits for ever (hasWorked in nip46/client.go). Its connect goes out
	// before its subscription either way: a signer has to send again what nobody heard.
	runtime.GOMAXPROCS(1)
	orders := bufio.NewScanner(os.Stdin)
	orders.Buffer(nil, 1<<20)
	for orders.Scan() {
		var given order
		if err := json.Unmarshal(orders.Bytes(), &given); err != nil {
			panic(err)
		}
		go func() {
			result, err := obey(given)
			if err != nil {
				tell(map[string]any{"answered": given.Number, "error": err.Error()})
				return
			}
			tell(map[string]any{"answered": given.Number, "result": result})
		}()
	}
}
