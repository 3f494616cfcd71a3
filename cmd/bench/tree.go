package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// The tree that the commits' rows have: 20,000 small files in 200 directories and 8 large ones, 580 MB in all.
const (
	treeFiles = 20_000
	treeBytes = 580_000_000
	treeLarge = 8
)

// writeTree fills a new directory with small files of 4 to 38 KiB and a few large ones, total bytes in all: the same
// bytes on every machine, so that figures can be compared.
func writeTree(dir string, small int, total int64) error {
	source := newContent()
	left := total
	for i := range small {
		size := 4<<10 + source.rng.IntN(34<<10)
		left -= int64(size)
		name := filepath.Join(dir, fmt.Sprintf("lib/%03d/file-%05d", i/100, i))
		if err := source.writeFile(name, size); err != nil {
			return err
		}
	}
	for i := range int64(treeLarge) {
		size := left / (treeLarge - i)
		left -= size
		if err := source.writeFile(filepath.Join(dir, fmt.Sprintf("bin/large-%d", i)), int(size)); err != nil {
			return err
		}
	}
	return nil
}

// content makes bytes that compress about as the files of an image do: half of them text, half close to machine code.
type content struct {
	rng   *rand.Rand
	words []string
}

func newContent() *content {
	c := &content{rng: rand.New(rand.NewPCG(3, 580))}
	for range 4000 {
		word := make([]byte, 2+c.rng.IntN(9))
		for i := range word {
			word[i] = 'a' + byte(c.rng.IntN(26))
		}
		c.words = append(c.words, string(word)+" ")
	}
	return c
}

func (c *content) writeFile(name string, size int) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	data := make([]byte, 0, size+8<<10)
	for len(data) < size {
		data = c.text(data, 4<<10)
		data = c.code(data, 4<<10)
	}
	return os.WriteFile(name, data[:size], 0o644)
}

// text appends words, the common ones more often.
func (c *content) text(data []byte, size int) []byte {
	for end := len(data) + size; len(data) < end; {
		at := c.rng.IntN(len(c.words))
		data = append(data, c.words[c.rng.IntN(at+1)]...)
	}
	return data
}

// code appends instructions of 8 bytes: a few opcodes, small operands, and now and then an address.
func (c *content) code(data []byte, size int) []byte {
	for end := len(data) + size; len(data) < end; {
		bits := c.rng.Uint64()
		instruction := bits&0x0000_00ff_0f0f_0f1f | 0x4800_0000_0000_0000
		if bits>>62 == 0 {
			instruction = bits
		}
		data = binary.LittleEndian.AppendUint64(data, instruction)
	}
	return data
}
