package admin

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/url"

	"varve/internal/auth"
)

// As makes every call as a user.
func (c *Client) As(user, password string) *Client {
	c.user, c.password = user, password
	return c
}

// Broken makes every call fail with err.
func (c *Client) Broken(err error) *Client {
	c.err = err
	return c
}

// Unverified takes any certificate of the server.
func (c *Client) Unverified() *Client {
	c.http.Transport = &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12},
	}
	return c
}

// Users lists the users whose name contains filter.
func (c *Client) Users(ctx context.Context, filter string) ([]auth.User, error) {
	return get[[]auth.User](ctx, c, "/users", url.Values{"filter": {filter}})
}

// CreateUser adds a user.
func (c *Client) CreateUser(ctx context.Context, u auth.User) (auth.User, error) {
	return call[auth.User](ctx, c, http.MethodPost, "/users", nil, u)
}

// UpdateUser changes what u names of a user.
func (c *Client) UpdateUser(ctx context.Context, u auth.User) (auth.User, error) {
	return call[auth.User](ctx, c, http.MethodPut, "/users/"+url.PathEscape(u.Name), nil, u)
}

// DeleteUser removes a user and its policies.
func (c *Client) DeleteUser(ctx context.Context, name string) error {
	_, err := call[any](ctx, c, http.MethodDelete, "/users/"+url.PathEscape(name), nil, nil)
	return err
}

// ACLs lists policies by parts of the subjects' and resources' names.
func (c *Client) ACLs(ctx context.Context, subject, resource string) ([]auth.ACL, error) {
	return get[[]auth.ACL](ctx, c, "/acls", url.Values{"subject": {subject}, "resource": {resource}})
}

// PutACL adds entries to the policies of a subject.
func (c *Client) PutACL(ctx context.Context, a auth.ACL) error {
	_, err := call[any](ctx, c, http.MethodPost, "/acls", nil, a)
	return err
}

// DeleteACL removes a user's entry for a resource, or all where it is "".
func (c *Client) DeleteACL(ctx context.Context, user, kind, resource string) error {
	_, err := call[any](ctx, c, http.MethodDelete, "/acls/"+url.PathEscape(user), url.Values{"type": {kind}, "resource": {resource}}, nil)
	return err
}

// Quotas lists what tenants may.
func (c *Client) Quotas(ctx context.Context) ([]Quota, error) {
	return get[[]Quota](ctx, c, "/quotas", nil)
}

// SetQuota sets what a tenant may.
func (c *Client) SetQuota(ctx context.Context, q Quota) error {
	_, err := call[Quota](ctx, c, http.MethodPut, "/quotas/"+url.PathEscape(q.Tenant), nil, q)
	return err
}

// DeleteQuota removes a tenant's limits.
func (c *Client) DeleteQuota(ctx context.Context, tenant string) error {
	_, err := call[any](ctx, c, http.MethodDelete, "/quotas/"+url.PathEscape(tenant), nil, nil)
	return err
}
