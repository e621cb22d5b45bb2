package faulty

import "net/http"

// Trap has something happen at one request of those to come.
type Trap struct {
	At    int  // which, from 1
	Reads bool // requests that only read count too
	After bool // when the server has done it, or else in its place; no answer is given either way
	// Spring is called once, with what was asked.
	Spring func(request string)

	seen int
}

// Arm sets the trap.
func (p *Proxy) Arm(t *Trap) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trap = t
}

// Disarm takes the trap away and says whether it had been set off.
func (p *Proxy) Disarm() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	sprung := p.trap == nil
	p.trap = nil
	return sprung
}

// Quiet waits until the server works on nothing that came through here.
func (p *Proxy) Quiet() { p.inside.Wait() }

// step counts a request and gives the trap if it is the one.
func (p *Proxy) step(r *http.Request) *Trap {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.trap
	if t == nil || !t.Reads && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		return nil
	}
	if t.seen++; t.seen != t.At {
		return nil
	}
	p.trap = nil
	return t
}
