// A log by golang.org/x/mod/sumdb/tlog that asks a witness for cosignatures, and verifies them by the
// formats of transparency-dev, with the checkpoints of torchwood.
//
// Usage: interop URL VKEY SKEY. SKEY is the log's signer key (golang.org/x/mod/sumdb/note).
package main

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"

	"filippo.io/torchwood"
	formats "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type hashes []tlog.Hash

func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, 0, len(indexes))
	for _, index := range indexes {
		found = append(found, h[index])
	}
	return found, nil
}

func (h hashes) with(size int64, branch string) hashes {
	grown := append(hashes{}, h...)
	for n := treeSize(h); n < size; n++ {
		more, err := tlog.StoredHashes(n, []byte(fmt.Sprintf("entry %d %s", n, branch)), grown)
		must(err)
		grown = append(grown, more...)
	}
	return grown
}

func treeSize(h hashes) int64 {
	n := int64(0)
	for tlog.StoredHashCount(n+1) <= int64(len(h)) {
		n++
	}
	return n
}

type client struct {
	url    string
	signer note.Signer
	key    note.Verifier
}

// ask submits the tree of size and returns the status; a cosignature has been verified.
func (c client) ask(h hashes, old, size int64) int {
	root, err := tlog.TreeHash(size, h)
	must(err)
	text := torchwood.Checkpoint{Origin: c.signer.Name(), Tree: tlog.Tree{N: size, Hash: root}}.String()
	signed, err := note.Sign(&note.Note{Text: text}, c.signer)
	must(err)
	body := &bytes.Buffer{}
	fmt.Fprintf(body, "old %d\n", old)
	if 0 < old && old < size {
		proof, err := tlog.ProveTree(size, old, h)
		must(err)
		for _, hash := range proof {
			fmt.Fprintf(body, "%s\n", hash)
		}
	}
	fmt.Fprintf(body, "\n%s", signed)
	answer, err := http.Post(c.url+"/add-checkpoint", "", body)
	must(err)
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	must(err)
	if answer.StatusCode == http.StatusOK {
		opened, err := note.Open(append(signed, data...), note.VerifierList(c.key))
		must(err)
		if len(opened.Sigs) != 1 {
			log.Fatalf("%d cosignatures verify", len(opened.Sigs))
		}
		if at, err := torchwood.CosignatureTimestamp(opened.Sigs[0]); err != nil || at <= 0 {
			log.Fatalf("timestamp %d: %v", at, err)
		}
	}
	if answer.StatusCode == http.StatusConflict && !strings.HasSuffix(string(data), "\n") {
		log.Fatalf("conflict says %q", data)
	}
	return answer.StatusCode
}

func expect(what string, found, wanted int) {
	if found != wanted {
		log.Fatalf("%s: status %d, not %d", what, found, wanted)
	}
	fmt.Println(what, found)
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	key, err := formats.NewVerifierForCosignatureV1(os.Args[2])
	must(err)
	signer, err := note.NewSigner(os.Args[3])
	must(err)
	c := client{os.Args[1], signer, key}
	h := hashes{}.with(40, "")
	expect("first", c.ask(h, 0, 5), 200)
	expect("again", c.ask(h, 5, 5), 200)
	for old := int64(5); old < 40; old++ {
		expect(fmt.Sprintf("from %d", old), c.ask(h, old, old+1), 200)
	}
	expect("stale", c.ask(h, 7, 40), 409)
	grown := h.with(100, "")
	expect("a jump", c.ask(grown, 40, 100), 200)
	expect("another branch", c.ask(h.with(120, "of another"), 100, 120), 422)
	expect("cut back", c.ask(h, 100, 30), 400)
}
