package sshd

import (
	"net"
	"sync"
	"time"
)

const (
	// gatherMost is how much waits for a socket that is being written to, in bytes; whoever writes more waits, too.
	// A peer that takes nothing costs twice as much: what is being written, and what comes after it.
	gatherMost = 128 << 10
	// gatherLeast is where a buffer begins. One who has not authenticated gets no further.
	gatherLeast = 4 << 10
	// lastWords is how long what was written before Close has to reach the socket.
	lastWords = time.Second
)

var (
	smallBuffers = sync.Pool{New: func() any { return new([gatherLeast]byte) }}
	largeBuffers = sync.Pool{New: func() any { return new([gatherMost]byte) }}
)

// A gatherer writes to a socket from a goroutine of its own, so that what is written while the kernel takes what
// came before goes out together: x/crypto makes two writes of each packet, through a buffer of 4 KiB. Nothing ever
// waits for more to come. The goroutine lives only while there is something to write, and an idle gatherer holds
// no buffer. Its methods are safe for concurrent use.
type gatherer struct {
	to      net.Conn
	running sync.WaitGroup // the goroutine
	turn    sync.Mutex     // held by a Write, so that its bytes stay together; above mu

	mu     sync.Mutex
	room   sync.Cond
	next   []byte // in a buffer of one of the pools; nil: there is nothing to write
	busy   bool   // the goroutine runs
	closed bool
	err    error // the first
}

func (g *gatherer) init(to net.Conn) {
	g.to = to
	g.room.L = &g.mu
}

// Write takes p. It returns the error of an earlier one, if that has failed: the connection is closed then.
func (g *gatherer) Write(p []byte) (int, error) {
	g.turn.Lock()
	defer g.turn.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	written := 0
	for written < len(p) {
		for g.err == nil && !g.closed && len(g.next) == gatherMost {
			g.room.Wait()
		}
		switch {
		case g.err != nil:
			return written, g.err
		case g.closed:
			return written, net.ErrClosed
		}
		written += g.gather(p[written:])
		if !g.busy {
			g.busy = true
			g.running.Go(g.drain)
		}
	}
	return written, nil
}

// gather takes as much of p as there is room for.
func (g *gatherer) gather(p []byte) int {
	if g.next == nil && len(p) <= gatherLeast {
		g.next = smallBuffers.Get().(*[gatherLeast]byte)[:0]
	}
	if len(g.next)+len(p) > cap(g.next) && cap(g.next) < gatherMost {
		small := g.next
		g.next = append(largeBuffers.Get().(*[gatherMost]byte)[:0], small...)
		release(small)
	}
	p = p[:min(len(p), gatherMost-len(g.next))]
	g.next = append(g.next, p...)
	return len(p)
}

func release(buf []byte) {
	switch cap(buf) {
	case gatherLeast:
		smallBuffers.Put((*[gatherLeast]byte)(buf[:gatherLeast]))
	case gatherMost:
		largeBuffers.Put((*[gatherMost]byte)(buf[:gatherMost]))
	}
}

// drain writes until there is nothing more to write, or it fails.
func (g *gatherer) drain() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.next) > 0 && g.err == nil {
		out := g.next
		g.next = nil
		if !g.closed { // else close has set a nearer one
			g.err = g.to.SetWriteDeadline(time.Now().Add(stallTimeout))
		}
		g.room.Broadcast()
		if g.err == nil {
			g.mu.Unlock()
			_, err := g.to.Write(out)
			g.mu.Lock()
			g.err = err
		}
		release(out)
	}
	release(g.next)
	g.next, g.busy = nil, false
	if g.closed || g.err != nil {
		g.to.Close()
	}
	g.room.Broadcast()
}

// close ends the connection without waiting: whoever reads from it learns at once, and what was written before has
// lastWords to go out.
func (g *gatherer) close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	again := g.closed
	g.closed = true
	g.room.Broadcast()
	if !g.busy {
		return g.to.Close()
	}
	if again {
		return nil
	}
	now := time.Now()
	_ = g.to.SetReadDeadline(now)
	return g.to.SetWriteDeadline(now.Add(lastWords))
}

// wait returns when a gatherer that was closed has written what it could.
func (g *gatherer) wait() { g.running.Wait() }
