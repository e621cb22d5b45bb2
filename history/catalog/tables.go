package catalog

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"varve/internal/archive"
	"varve/internal/auth"
)

// separator stands between the levels of a namespace in a path. Tenants have
// one level.
const separator = "\x1f"

// maxPage is how many names a page has at most, where the caller wants pages.
const maxPage = 1000

func (s *server) config(*call) (any, error) {
	out := struct {
		Defaults  map[string]string `json:"defaults"`
		Overrides map[string]string `json:"overrides"`
		Endpoints []string          `json:"endpoints"`
	}{s.Properties, map[string]string{}, nil}
	if out.Defaults == nil {
		out.Defaults = map[string]string{}
	}
	for _, r := range routes {
		if r.listed == "" {
			continue
		}
		out.Endpoints = append(out.Endpoints, r.listed)
		if r.method == http.MethodGet {
			out.Endpoints = append(out.Endpoints, "HEAD"+strings.TrimPrefix(r.listed, "GET"))
		}
	}
	return out, nil
}

// visible gives the topics that the caller may read, by tenant.
func (s *server) visible(c *call) (map[string][]string, error) {
	topics, err := s.Archive.Topics(c.ctx)
	if err != nil {
		return nil, err
	}
	out := map[string][]string{}
	for _, topic := range topics {
		if s.Auth.Visible(c.caller.Identity, c.caller.IP, auth.Sub|auth.Get, auth.Topic(topic)) {
			tenant, local := archive.TopicParts(topic)
			out[tenant] = append(out[tenant], local)
		}
	}
	return out, nil
}

func (s *server) namespaces(c *call) (any, error) {
	var names []string
	if parent := c.r.URL.Query().Get("parent"); parent == "" {
		byTenant, err := s.visible(c)
		if err != nil {
			return nil, err
		}
		for tenant := range byTenant {
			names = append(names, tenant)
		}
	} else if _, err := s.topicsOf(c, parent); err != nil {
		return nil, err
	}
	names, next, err := page(c, names)
	if err != nil {
		return nil, err
	}
	out := struct {
		Namespaces [][]string `json:"namespaces"`
		Next       string     `json:"next-page-token,omitempty"`
	}{[][]string{}, next}
	for _, n := range names {
		out.Namespaces = append(out.Namespaces, []string{n})
	}
	return out, nil
}

// topicsOf gives the tables of a namespace, which must be there.
func (s *server) topicsOf(c *call, namespace string) ([]string, error) {
	byTenant, err := s.visible(c)
	if err != nil {
		return nil, err
	}
	list, ok := byTenant[namespace]
	if !ok {
		return nil, &Error{
			fmt.Sprintf("namespace %s doesn't exist: a namespace is a tenant with archived topics", strings.ReplaceAll(namespace, separator, ".")),
			"NoSuchNamespaceException", http.StatusNotFound,
		}
	}
	return list, nil
}

func (s *server) namespace(c *call) (any, error) {
	name := c.r.PathValue("namespace")
	if _, err := s.topicsOf(c, name); err != nil {
		return nil, err
	}
	return map[string]any{"namespace": []string{name}, "properties": map[string]string{}}, nil
}

func (s *server) tables(c *call) (any, error) {
	namespace := c.r.PathValue("namespace")
	names, err := s.topicsOf(c, namespace)
	if err != nil {
		return nil, err
	}
	names, next, err := page(c, names)
	if err != nil {
		return nil, err
	}
	type identifier struct {
		Namespace []string `json:"namespace"`
		Name      string   `json:"name"`
	}
	out := struct {
		Identifiers []identifier `json:"identifiers"`
		Next        string       `json:"next-page-token,omitempty"`
	}{[]identifier{}, next}
	for _, n := range names {
		out.Identifiers = append(out.Identifiers, identifier{[]string{namespace}, n})
	}
	return out, nil
}

// page gives the part of a list that was asked for. A caller that sends no
// token, not even an empty one, doesn't know of pages and gets everything.
func page(c *call, names []string) (part []string, next string, err error) {
	slices.Sort(names)
	q := c.r.URL.Query()
	if !q.Has("pageToken") {
		return names, "", nil
	}
	size := maxPage
	if s := q.Get("pageSize"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return nil, "", badRequest("pageSize %q is no number from 1 on", s)
		}
		size = min(n, maxPage)
	}
	after, err := base64.RawURLEncoding.DecodeString(q.Get("pageToken"))
	if err != nil {
		return nil, "", badRequest("pageToken %q is none of this catalog's", q.Get("pageToken"))
	}
	if len(after) > 0 {
		i, found := slices.BinarySearch(names, string(after))
		if found {
			i++
		}
		names = names[i:]
	}
	if len(names) <= size {
		return names, "", nil
	}
	return names[:size], base64.RawURLEncoding.EncodeToString([]byte(names[size-1])), nil
}

func badRequest(format string, args ...any) error {
	return &Error{fmt.Sprintf(format, args...), "BadRequestException", http.StatusBadRequest}
}

// topic gives the topic of a request's table, which the caller may read. Spark
// looks for the table "snapshots" of the namespace "default", "orders" before
// it takes it for a part of orders.
func (s *server) topic(c *call) (string, error) {
	namespace, name := c.r.PathValue("namespace"), c.r.PathValue("table")
	if strings.Contains(namespace, separator) {
		return "", fmt.Errorf("table %s.%s: %w", strings.ReplaceAll(namespace, separator, "."), name, archive.ErrNoTable)
	}
	topic := archive.JoinTopic(namespace, name)
	return topic, s.Auth.AllowCaller(c.caller, auth.Sub|auth.Get, auth.Topic(topic))
}

func (s *server) table(c *call) (any, error) {
	topic, err := s.topic(c)
	if err != nil {
		return nil, err
	}
	t, err := s.Archive.Table(c.ctx, topic)
	if err != nil {
		return nil, err
	}
	if _, err := t.Refresh(c.ctx); err != nil {
		return nil, err
	}
	if err := s.lease(c, t); err != nil {
		return nil, err
	}
	doc, version, location, err := t.Metadata()
	if err != nil {
		return nil, err
	}
	if version == 0 {
		return nil, fmt.Errorf("table of %s: %w", topic, archive.ErrNoTable)
	}
	tag := fmt.Sprintf(`"%d.%d"`, t.Incarnation(), version)
	c.w.Header().Set("ETag", tag)
	if c.r.Header.Get("If-None-Match") == tag {
		return unchanged, nil
	}
	return struct {
		Location string            `json:"metadata-location"`
		Metadata json.RawMessage   `json:"metadata"`
		Config   map[string]string `json:"config"`
	}{location, doc, map[string]string{}}, nil
}

// report takes what a scan or commit reports of itself, and keeps nothing.
func (s *server) report(c *call) (any, error) {
	if _, err := s.topic(c); err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, c.r.Body); err != nil {
		return nil, fmt.Errorf("read the report: %w", err)
	}
	return nil, nil
}

func (s *server) views(c *call) (any, error) {
	if _, err := s.topicsOf(c, c.r.PathValue("namespace")); err != nil {
		return nil, err
	}
	return map[string]any{"identifiers": []string{}}, nil
}

func (s *server) view(c *call) (any, error) {
	return nil, &Error{
		fmt.Sprintf("view %s.%s doesn't exist: the archive has tables alone", c.r.PathValue("namespace"), c.r.PathValue("view")),
		"NoSuchViewException", http.StatusNotFound,
	}
}
