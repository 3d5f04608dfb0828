// An app that signs with go-nostr, tested against a real relay and a real remote signer.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip46"
)

// testbed is what `bunker testbed` says of itself.
type testbed struct {
	Relay  string `json:"relay"`
	URI    string `json:"uri"`
	Pubkey string `json:"pubkey"`
	API    string `json:"api"`
}

// startTestbed starts a relay and a signer that end with the test.
func startTestbed(t *testing.T) testbed {
	t.Helper()
	name := os.Getenv("BUNKER")
	if name == "" {
		name = "bunker"
	}
	command := exec.Command(name, "testbed")
	command.Stderr = os.Stderr
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Signal(os.Interrupt)
		_ = command.Wait()
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var bed testbed
	if err := json.Unmarshal(line, &bed); err != nil {
		t.Fatal(err)
	}
	return bed
}

// call speaks to the API; API + "/openapi.json" describes it.
func (bed testbed) call(t *testing.T, method, path string, body any) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequest(method, bed.API+path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		t.Fatal(fmt.Errorf("%s %s: %s", method, path, response.Status))
	}
}

func TestSignature(t *testing.T) {
	bed := startTestbed(t)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	pool := nostr.NewSimplePool(ctx)
	app, err := nip46.ConnectBunker(ctx, nostr.GeneratePrivateKey(), bed.URI, pool, func(string) {})
	if err != nil {
		t.Fatal(err)
	}

	event := nostr.Event{Kind: 1, Content: "hello", CreatedAt: nostr.Now()}
	if err := app.SignEvent(ctx, &event); err != nil {
		t.Fatal(err)
	}
	if ok, err := event.CheckSignature(); !ok || err != nil || event.PubKey != bed.Pubkey {
		t.Fatalf("not signed by %s: %v", bed.Pubkey, err)
	}

	bed.call(t, "PATCH", "/signers/0", map[string]any{"denying": true})
	err = app.SignEvent(ctx, &event)
	if err == nil || !strings.Contains(err.Error(), "denied") {
		t.Fatalf("a denial did not reach the app: %v", err)
	}
}
