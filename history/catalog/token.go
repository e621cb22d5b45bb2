package catalog

import (
	"net/http"
	"strconv"

	"varve/internal/auth"
)

// What an engine may ask a token with (RFC 6749, section 4.4; RFC 8693).
const (
	grantCredentials = "client_credentials"
	grantExchange    = "urn:ietf:params:oauth:grant-type:token-exchange"
	accessToken      = "urn:ietf:params:oauth:token-type:access_token"
)

// token gives a user, or who has a token that is still good, a new token. Where
// access control is off it gives one to everybody, for nobody looks at it.
func (s *server) token(c *call) (any, error) {
	if err := c.r.ParseForm(); err != nil {
		return nil, &oauthError{"invalid_request", "the request's form: " + err.Error(), http.StatusBadRequest}
	}
	var id auth.Identity
	var err error
	switch grant := c.r.PostForm.Get("grant_type"); grant {
	case grantCredentials:
		name, password, ok := c.r.BasicAuth()
		if !ok {
			name, password = c.r.PostForm.Get("client_id"), c.r.PostForm.Get("client_secret")
		}
		id, err = s.Auth.VerifyPassword(name, password)
	case grantExchange:
		id = auth.Anybody
		if s.Auth.Enabled() {
			id, err = s.Auth.VerifyToken(c.r.PostForm.Get("subject_token"))
		}
	default:
		return nil, &oauthError{"unsupported_grant_type", "grant_type " + strconv.Quote(grant) + " is not " + grantCredentials + " or " + grantExchange, http.StatusBadRequest}
	}
	if err != nil {
		return nil, &oauthError{"invalid_client", err.Error(), http.StatusUnauthorized}
	}
	out := struct {
		Token   string `json:"access_token"`
		Type    string `json:"token_type"`
		Issued  string `json:"issued_token_type"`
		Seconds int    `json:"expires_in"`
	}{"none-needed", "bearer", accessToken, 3600}
	if s.Auth.Enabled() {
		token, life, err := s.Auth.Token(id)
		if err != nil {
			return nil, err
		}
		out.Token, out.Seconds = token, int(life.Seconds())
	}
	c.w.Header().Set("Cache-Control", "no-store")
	return out, nil
}

// oauthError refuses a token, in OAuth2's form (RFC 6749, section 5.2).
type oauthError struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`
	status      int
}

func (e *oauthError) Error() string { return e.Description }
