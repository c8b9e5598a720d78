// SPDX-License-Identifier: Apache-2.0

// cilium/ebpf's side of the benchmarks, with the protocol of ../libbpf.c: drain, json, perf and live.
//
//	apt-get install golang-go golang-github-cilium-ebpf-dev
//	GO111MODULE=off GOPATH=/usr/share/gocode go build -o cilium bench/peers/cilium/main.go
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/perf"
	"github.com/cilium/ebpf/ringbuf"
)

const stop = 0xffffffff

// In the order of the keys' bytes, as the other programs write them.
type event struct {
	Comm   string `json:"comm"`
	Flags  uint32 `json:"flags"`
	Gid    uint32 `json:"gid"`
	Mntns  uint64 `json:"mntns"`
	Number uint64 `json:"number"`
	Pid    uint32 `json:"pid"`
	Ret    int32  `json:"ret"`
	Tid    uint32 `json:"tid"`
	Time   uint64 `json:"time"`
	Uid    uint32 `json:"uid"`
}

func decode(b []byte, e *event) {
	e.Number = binary.LittleEndian.Uint64(b[0:])
	e.Time = binary.LittleEndian.Uint64(b[8:])
	e.Pid = binary.LittleEndian.Uint32(b[16:])
	e.Tid = binary.LittleEndian.Uint32(b[20:])
	e.Uid = binary.LittleEndian.Uint32(b[24:])
	e.Gid = binary.LittleEndian.Uint32(b[28:])
	e.Ret = int32(binary.LittleEndian.Uint32(b[32:]))
	e.Flags = binary.LittleEndian.Uint32(b[36:])
	e.Mntns = binary.LittleEndian.Uint64(b[40:])
	comm := b[48:64]
	for i, c := range comm {
		if c == 0 {
			comm = comm[:i]
			break
		}
	}
	e.Comm = string(comm)
}

type counter struct {
	file  *os.File
	bytes uint64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.file.Write(p)
	c.bytes += uint64(n)
	return n, err
}

// Nanoseconds of CPU of all threads.
func cpuTime() int64 {
	var usage syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return usage.Utime.Nano() + usage.Stime.Nano()
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	mode := os.Args[1]
	m, err := ebpf.NewMapFromFD(3)
	check(err)
	out := &counter{file: os.NewFile(4, "out")}
	buffered := bufio.NewWriterSize(out, 65536)
	encoder := json.NewEncoder(buffered)
	stdin := bufio.NewReader(os.Stdin)
	if mode == "perf" {
		drainPerf(m, stdin)
		return
	}
	reader, err := ringbuf.NewReader(m)
	check(err)
	fmt.Println("ready")
	var record ringbuf.Record
	var e event
	if mode == "live" {
		// What is buffered is written when the buffer is full: nothing tells whether the next read will block.
		live(reader, buffered, encoder, out)
		return
	}
	for {
		line, err := stdin.ReadString('\n')
		if err != nil {
			return
		}
		count, err := strconv.Atoi(strings.TrimSpace(line))
		check(err)
		var records, sum uint64
		out.bytes = 0
		start := cpuTime()
		for i := 0; i < count; i++ {
			check(reader.ReadInto(&record))
			if mode == "json" {
				decode(record.RawSample, &e)
				sum += e.Number
				check(encoder.Encode(&e))
			} else {
				sum += binary.LittleEndian.Uint64(record.RawSample)
			}
			records++
		}
		check(buffered.Flush())
		fmt.Println(records, sum, cpuTime()-start, out.bytes)
	}
}

func live(reader *ringbuf.Reader, buffered *bufio.Writer, encoder *json.Encoder, out *counter) {
	var record ringbuf.Record
	var e event
	var records, sum uint64
	start := cpuTime()
	for {
		check(reader.ReadInto(&record))
		decode(record.RawSample, &e)
		if uint32(e.Number) == stop {
			check(buffered.Flush())
			fmt.Println(records, sum, cpuTime()-start, out.bytes)
			records, sum, out.bytes = 0, 0, 0
			start = cpuTime()
			continue
		}
		records++
		sum += e.Number
		check(encoder.Encode(&e))
	}
}

func drainPerf(m *ebpf.Map, stdin *bufio.Reader) {
	pages := 64
	if len(os.Args) > 2 {
		pages, _ = strconv.Atoi(os.Args[2])
	}
	reader, err := perf.NewReader(m, pages*os.Getpagesize())
	check(err)
	fmt.Println("ready")
	for {
		line, err := stdin.ReadString('\n')
		if err != nil {
			return
		}
		count, err := strconv.Atoi(strings.TrimSpace(line))
		check(err)
		var records, sum uint64
		start := cpuTime()
		for records < uint64(count) {
			record, err := reader.Read()
			check(err)
			if record.LostSamples > 0 {
				continue
			}
			sum += binary.LittleEndian.Uint64(record.RawSample)
			records++
		}
		fmt.Println(records, sum, cpuTime()-start, 0)
	}
}
