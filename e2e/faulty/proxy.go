package faulty

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Fault is one way to misbehave.
type Fault int

// The faults.
const (
	Healthy   Fault = iota
	Slow            // each request waits first
	Refuse          // 503 SlowDown
	CutBefore       // connection closed, nothing forwarded
	CutAfter        // forwarded, then closed without an answer: the client can't know
	CutHalf         // forwarded, then half of the answer
	LieData         // a written data file is acknowledged and thrown away
	LieAll          // any write is acknowledged and thrown away
	Deny            // 403 AccessDenied
	Twice           // a write is done, and done again; the answer is the second one's
	Late            // a write's connection is closed, and the write done a second later
	Stale           // a listing is answered as it was when it was last asked for while all was well
)

const (
	slowLeast = 150 * time.Millisecond
	slowMore  = 350 * time.Millisecond
	lateBy    = time.Second
	bodyLimit = 1 << 30
	dataPart  = "/data/" // in the name of a data file
)

// Proxy forwards requests to a server; its zero value is not usable.
type Proxy struct {
	upstream string
	client   *http.Transport
	srv      *http.Server
	addr     string

	mu      sync.Mutex
	fault   Fault
	share   float64
	faulted int64
	passed  int64
	trap    *Trap
	listed  map[string][]byte // answers to listings
	inside  sync.WaitGroup    // requests that the server works on
}

// Start listens at addr and forwards to the server at upstream.
func Start(addr, upstream string) (*Proxy, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("starting the proxy: %w", err)
	}
	p := &Proxy{upstream: upstream, client: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}, addr: ln.Addr().String(), listed: map[string][]byte{}}
	p.srv = &http.Server{Handler: http.HandlerFunc(p.serve), ReadHeaderTimeout: 30 * time.Second}
	go func() {
		if err := p.srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			fmt.Println("proxy:", err)
		}
	}()
	return p, nil
}

// Addr is where it listens.
func (p *Proxy) Addr() string { return p.addr }

// Close stops it.
func (p *Proxy) Close() error { return p.srv.Close() }

// Set makes a share (0 to 1) of the requests from now on suffer a fault.
func (p *Proxy) Set(f Fault, share float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.share, p.faulted, p.passed = f, share, 0, 0
}

// Counts are how many requests suffered and how many passed since the last Set.
func (p *Proxy) Counts() (faulted, passed int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faulted, p.passed
}

// draw decides what happens to a request.
func (p *Proxy) draw(r *http.Request) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.fault
	if !applies(f, r) || rand.Float64() >= p.share {
		f = Healthy
	}
	if f == Healthy {
		p.passed++
	} else {
		p.faulted++
	}
	return f
}

func applies(f Fault, r *http.Request) bool {
	write := r.Method == http.MethodPut || r.Method == http.MethodPost
	switch f {
	case LieData:
		return write && strings.Contains(r.URL.Path, dataPart)
	case LieAll:
		return write
	case Twice, Late:
		return write || r.Method == http.MethodDelete
	case Stale:
		return listing(r)
	}
	return true
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, bodyLimit))
	if err != nil {
		return // the client went away
	}
	p.inside.Add(1)
	defer p.inside.Done()
	if t := p.step(r); t != nil {
		if t.After {
			p.forward(w, r, body, func(*http.Response, []byte) { cut(w) })
		} else {
			cut(w)
		}
		t.Spring(r.Method + " " + r.URL.Path)
		return
	}
	switch p.draw(r) {
	case Slow:
		time.Sleep(slowLeast + rand.N(slowMore))
		p.forward(w, r, body, nil)
	case Refuse:
		refuse(w, http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate.")
	case Deny:
		refuse(w, http.StatusForbidden, "AccessDenied", "Access Denied.")
	case CutBefore:
		cut(w)
	case CutAfter:
		p.forward(w, r, body, func(*http.Response, []byte) { cut(w) })
	case CutHalf:
		p.forward(w, r, body, func(resp *http.Response, answer []byte) { half(w, resp, answer) })
	case LieData, LieAll:
		lie(w, r, body)
	case Twice:
		p.forward(w, r, body, func(*http.Response, []byte) {})
		p.forward(w, r, body, nil)
	case Late:
		cut(w)
		time.Sleep(lateBy) // that is the fault
		p.forward(w, r, body, func(*http.Response, []byte) {})
	case Stale:
		p.stale(w, r, body)
	default:
		p.forward(w, r, body, nil)
	}
}

// forward passes a request on; the answer goes back, or to instead.
func (p *Proxy) forward(w http.ResponseWriter, r *http.Request, body []byte, instead func(*http.Response, []byte)) {
	// The request is finished at the server even if the client leaves: that is what makes it ambiguous.
	req, err := http.NewRequestWithContext(context.WithoutCancel(r.Context()), r.Method, "http://"+p.upstream+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		refuse(w, http.StatusBadGateway, "InternalError", err.Error())
		return
	}
	req.Header, req.Host, req.ContentLength = r.Header.Clone(), r.Host, int64(len(body)) // the signature covers the host
	resp, err := p.client.RoundTrip(req)
	if err != nil {
		refuse(w, http.StatusBadGateway, "InternalError", err.Error())
		return
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		refuse(w, http.StatusBadGateway, "InternalError", err.Error())
		return
	}
	if listing(r) && resp.StatusCode == http.StatusOK {
		p.keep(r, answer)
	}
	if instead != nil {
		instead(resp, answer)
		return
	}
	copyHeader(w, resp)
	w.WriteHeader(resp.StatusCode)
	_, _ = w.Write(answer) // a client that went away needs no answer
}

func copyHeader(w http.ResponseWriter, resp *http.Response) {
	for k, v := range resp.Header {
		w.Header()[k] = v
	}
}

func refuse(w http.ResponseWriter, status int, code, text string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>%s</Message><RequestId>0</RequestId></Error>`, code, text)
}

// cut closes the connection under the client.
func cut(w http.ResponseWriter) {
	if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = c.Close() // that is the fault
	}
}

// half sends the head and half of the body, then closes.
func half(w http.ResponseWriter, resp *http.Response, answer []byte) {
	copyHeader(w, resp)
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	w.WriteHeader(resp.StatusCode)
	_, _ = w.Write(answer[:len(answer)/2]) // the rest is the fault
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// lie acknowledges a write as a healthy server would.
func lie(w http.ResponseWriter, r *http.Request, body []byte) {
	sum := md5.Sum(body)
	etag := `"` + hex.EncodeToString(sum[:]) + `"`
	q := r.URL.Query()
	switch {
	case r.Method == http.MethodPost && q.Has("uploads"):
		fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>%x</UploadId></InitiateMultipartUploadResult>`, sum)
	case r.Method == http.MethodPost && q.Has("uploadId"):
		fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><CompleteMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><ETag>%s</ETag></CompleteMultipartUploadResult>`, etag)
	default:
		w.Header().Set("ETag", etag)
		w.WriteHeader(http.StatusOK)
	}
}
