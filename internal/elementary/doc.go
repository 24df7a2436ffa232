// Package elementary has elementary functions of float64 whose results are the
// same bits on every processor.
//
// Go's math functions are assembly on some processors and portable code on
// others, and the compiler may fuse a product with the addition that follows
// it. Here every function is one fixed sequence of additions, products and
// quotients, and each product that feeds an addition is written float64(a*b),
// which forbids fusing. Errors are bounded, and the bounds are tested against
// arbitrary-precision arithmetic; the functions are not correctly rounded.
package elementary
