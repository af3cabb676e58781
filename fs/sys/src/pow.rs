//! The one function of the mathematical library that the program needs.
//!
//! Progress bars weight their rates with powf. With it here, `libm.so` need not be found, mapped and
//! relocated whenever the program is started, which is a twelfth of the time that a mount takes.

/// pow(3), but that it leaves errno alone. Libraries that are loaded later find it, too.
// SAFETY: it has the name, the arguments and the result of that function.
#[unsafe(no_mangle)]
extern "C" fn pow(base: f64, exponent: f64) -> f64 {
    libm::pow(base, exponent)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_power_is_what_it_should_be() {
        let (base, exponent) = std::hint::black_box((0.1_f64, 0.5));
        assert!((base.powf(exponent) - base.sqrt()).abs() < 1e-15);
        assert_eq!(std::hint::black_box(2_f64).powf(10.0), 1024.0);
        assert!(std::hint::black_box(-1_f64).powf(exponent).is_nan());
    }
}
