// Package cut makes copies of a program whose outputs are values from its
// inside, so that a plane that can show nothing but outputs shows them.
package cut
