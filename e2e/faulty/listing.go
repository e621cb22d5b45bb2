package faulty

import "net/http"

func listing(r *http.Request) bool {
	return r.Method == http.MethodGet && r.URL.Query().Has("list-type")
}

// keep remembers the answer to a listing.
func (p *Proxy) keep(r *http.Request, answer []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listed[r.URL.RequestURI()] = answer
}

// stale answers a listing as it was.
func (p *Proxy) stale(w http.ResponseWriter, r *http.Request, body []byte) {
	p.mu.Lock()
	answer, ok := p.listed[r.URL.RequestURI()]
	p.mu.Unlock()
	if !ok {
		p.forward(w, r, body, nil)
		return
	}
	w.Header().Set("Content-Type", "application/xml")
	_, _ = w.Write(answer) // a client that went away needs no answer
}
