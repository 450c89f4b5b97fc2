// Package suite holds what both builders share: the cases, the base images,
// and the plain description of an image by which results are compared.
package suite
