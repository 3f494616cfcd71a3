// Package silence gives up connections to servers that say nothing, for clients that would wait for ever.
package silence

import (
	"context"
	"errors"
	"math"
	"net"
	"net/http/httptrace"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Silence is one that a server was given up for.
type Silence struct {
	Address string        // HOST:PORT that the connection leads to: the server's, or that of a proxy on the way
	Sending bool          // the server doesn't take what is sent to it; else it doesn't say what it is waited for
	Limit   time.Duration // how long no byte moved in either direction
}

// longestLook bounds the time between two looks at a connection, and with that how much longer than its limit a silence
// may last.
const longestLook = 10 * time.Second

// readersPause is how much later than writing reading fails where something is being written.
const readersPause = 100 * time.Millisecond

// Watch returns a context in which HTTP requests over TCP don't wait for a silent server longer than limit: reading from and writing
// to its connection then fail with os.ErrDeadlineExceeded, and Of knows why. A limit of 0 is none. It ends with
// ctx.
//
// What a connection's two ends have done is asked of the kernel, below TLS and HTTP. It isn't the server that is silent as long as
//   - bytes come or are acknowledged, however few,
//   - bytes have come that this process hasn't read, as it unpacks what came before, or waits for a lock or a disk,
//   - the server has said all it had to say, and closed its side: what isn't read yet is in this process,
//   - its request's body isn't all written and no bytes of it wait to be sent: then those who make them are slow.
//
// Making a connection isn't watched. Clients have times of their own for connecting, for TLS and for an HTTP proxy's answer, but net/http
// has none for a SOCKS proxy's. A connection that is kept for further requests may be given up as well; the client makes
// another then.
func Watch(ctx context.Context, limit time.Duration) context.Context {
	if limit <= 0 {
		return ctx
	}
	w := &watch{ctx: ctx, limit: limit, lines: map[net.Conn]*line{}, beginning: map[*line]bool{}}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:          func(info httptrace.GotConnInfo) { w.begin(info.Conn) },
		WroteHeaderField: w.field,
		WroteHeaders:     w.head,
		WroteRequest:     func(httptrace.WroteRequestInfo) { w.written() },
	})
}

type watch struct {
	ctx   context.Context
	limit time.Duration

	mu         sync.Mutex
	lines      map[net.Conn]*line
	unfinished int // requests that aren't all written

	// Which connection a request's head goes to isn't told. Those that got a request are taken together until each has its
	// head, mostly one by one.
	beginning     map[*line]bool
	heads, bodies int // so many of them have their heads; so many heads announce a body
}

// line is a connection.
type line struct {
	tcp   *net.TCPConn
	since time.Time // when it was last known not to be silent
	last  moved

	upload  bool   // its request has a body, and isn't known to be all written
	largest uint64 // when more than that is acknowledged, it has a body
}

// largestHead is how many bytes no request takes before its body.
const largestHead = 64 << 10

// moved is how many bytes have come and gone since the connection was made.
type moved struct{ received, acknowledged uint64 }

// begin is called when a request gets its connection, new or used.
func (w *watch) begin(conn net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.lines[conn]
	if l == nil {
		tcp := tcpOf(conn)
		if tcp == nil {
			return
		}
		l = &line{tcp: tcp}
	}
	// If it was given up just now, nothing of the request can be written to it, and the client takes another.
	now, err := ask(l.tcp)
	if err != nil || now.moved.acknowledged == 0 { // the making of the connection counts as one, where the kernel counts
		return
	}
	l.since, l.last, l.upload, l.largest = time.Now(), now.moved, false, now.moved.acknowledged+largestHead
	if w.lines[conn] == nil {
		w.lines[conn] = l
		go w.follow(conn)
	}
	w.beginning[l] = true
}

// tcpOf finds the connection below those of TLS, or returns nil.
func tcpOf(conn net.Conn) *net.TCPConn {
	for {
		switch c := conn.(type) {
		case *net.TCPConn:
			return c
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil
		}
	}
}

// field is called for each field of a head. The first is before anything of the request is sent. Uploads by HTTP/2, which
// has its own names for them, aren't told from other requests before they are larger than a head.
func (w *watch) field(key string, value []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch key {
	case "Host", ":authority":
		w.unfinished++
	case "Transfer-Encoding":
		w.bodies++
	case "Content-Length":
		if !slices.Equal(value, []string{"0"}) {
			w.bodies++
		}
	}
}

// head is called when a request's head is made.
func (w *watch) head() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heads++
	w.begun()
}

// begun sorts the requests that are beginning, when all of them have their heads. When some have bodies and some don't, none is taken for
// an upload before it is larger than a head: a download that an upload takes its bytes from has to be watched, or the two
// would wait for ever.
func (w *watch) begun() {
	if w.heads < len(w.beginning) {
		return
	}
	for l := range w.beginning {
		l.upload = w.bodies >= len(w.beginning)
	}
	clear(w.beginning)
	w.heads, w.bodies = 0, 0
}

// written is called when some request is written, or failed to be. Which one isn't told, and doesn't matter when none is left:
// until then an upload that is written may be taken for one that isn't, but no other request.
func (w *watch) written() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unfinished = max(w.unfinished-1, 0) // a request that isn't even begun can fail to be written, too
	if w.unfinished == 0 {
		for _, l := range w.lines {
			l.upload, l.largest = false, math.MaxUint64
		}
	}
}

// follow looks at a connection until it is closed or given up.
func (w *watch) follow(conn net.Conn) {
	ticker := time.NewTicker(max(min(w.limit/20, longestLook), time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-w.ctx.Done():
			return
		case <-ticker.C:
		}
		if !w.look(conn) {
			return
		}
	}
}

// look gives a connection up that has been silent for too long. It returns false when there is nothing more to look at.
func (w *watch) look(conn net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.lines[conn]
	now, err := ask(l.tcp)
	if err != nil { // it is closed
		w.forget(conn)
		return false
	}
	l.upload = l.upload || now.moved.acknowledged > l.largest
	if now.moved != l.last || now.unread > 0 || now.unsent == 0 && (now.closed || l.upload && w.unfinished > 0) {
		l.since, l.last = time.Now(), now.moved
		return true
	}
	if time.Since(l.since) < w.limit {
		return true
	}
	w.forget(conn)
	ended.Store(key(l.tcp.LocalAddr().String(), l.tcp.RemoteAddr().String()),
		Silence{Address: l.tcp.RemoteAddr().String(), Sending: now.unsent > 0, Limit: w.limit})
	// Not shut down: an answer of unknown length would look complete.
	_ = l.tcp.SetWriteDeadline(time.Unix(1, 0)) // they can only fail for a connection that is closed
	read := time.Unix(1, 0)
	if now.unsent > 0 {
		// What fails first has the client close the connection, which is all that the other learns, and nobody retries on.
		read = time.Now().Add(readersPause)
	}
	_ = l.tcp.SetReadDeadline(read)
	return false
}

// forget is called when a connection is over, perhaps before its request had a head.
func (w *watch) forget(conn net.Conn) {
	delete(w.beginning, w.lines[conn])
	delete(w.lines, conn)
	w.begun()
}

// state is what the kernel knows of a connection.
type state struct {
	moved  moved
	unread int  // bytes that have come
	unsent int  // bytes that are written and not acknowledged
	closed bool // the other end says no more
}

func ask(conn *net.TCPConn) (s state, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return s, err
	}
	var info *unix.TCPInfo
	controlErr := raw.Control(func(fd uintptr) {
		if info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err != nil {
			return
		}
		if s.unread, err = unix.IoctlGetInt(int(fd), unix.SIOCINQ); err != nil {
			return
		}
		s.unsent, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
	})
	if err = errors.Join(controlErr, err); err != nil {
		return s, err
	}
	s.closed = info.State == unix.BPF_TCP_CLOSE_WAIT
	s.moved = moved{received: info.Bytes_received, acknowledged: info.Bytes_acked}
	return s, nil
}

// ended are the connections that were given up, by key. They are the process's, whoever asks.
var ended sync.Map

// key is how net.OpError writes a connection.
func key(local, remote string) string { return local + "->" + remote }

// Of returns the silence that an error comes from.
func Of(err error) (Silence, bool) {
	var op *net.OpError
	if !errors.As(err, &op) || !errors.Is(op.Err, os.ErrDeadlineExceeded) || op.Source == nil || op.Addr == nil {
		return Silence{}, false
	}
	return Between(op.Source.String(), op.Addr.String())
}

// Between returns the silence that a connection was given up for. Addresses are HOST:PORT.
func Between(local, remote string) (Silence, bool) {
	s, found := ended.Load(key(local, remote))
	if !found {
		return Silence{}, false
	}
	return s.(Silence), true
}
