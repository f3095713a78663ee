//! Rotary position embeddings: the inverse frequencies, in the same order of f32 operations as transformers.
//!
//! A position is multiplied by these numbers, so an error of one unit in the last place grows with the context.

/// How positions turn queries and keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// The base of the geometric series, `rope_theta`.
    pub theta: f64,
    pub scaling: RopeScaling,
}

/// How the frequencies are stretched for a longer context than the model was first trained on.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    None,
    /// Every frequency is divided by `factor`.
    Linear {
        factor: f64,
    },
    /// Llama 3.1: long wavelengths are divided by `factor`, short ones kept, those between interpolated.
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        original_max_position_embeddings: usize,
    },
    /// One divisor for each frequency, as GGUF's `rope_freqs.weight` holds them; `head_dim / 2` of them.
    Factors(Vec<f32>),
}

impl Rope {
    /// The `head_dim / 2` inverse frequencies in radians a position, highest first.
    pub fn inv_freq(&self, head_dim: usize) -> Vec<f32> {
        // torch's vectorised power is correctly rounded in all but a few cases; the platform's `powf` is less often.
        let base = f64::from(self.theta as f32);
        let power = |i: usize| base.powf(f64::from((2 * i) as f32 / head_dim as f32)) as f32;
        let plain = (0..head_dim / 2).map(|i| 1.0 / power(i));
        match &self.scaling {
            RopeScaling::None => plain.collect(),
            RopeScaling::Linear { factor } => plain.map(|freq| freq / *factor as f32).collect(),
            RopeScaling::Factors(factors) => plain.zip(factors).map(|(freq, factor)| freq / factor).collect(),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                let llama3 = Llama3 {
                    factor: *factor,
                    low: *low_freq_factor,
                    high: *high_freq_factor,
                    context: *original_max_position_embeddings as f64,
                };
                plain.map(|freq| llama3.scale(freq)).collect()
            }
        }
    }
}

struct Llama3 {
    factor: f64,
    low: f64,
    high: f64,
    context: f64,
}

impl Llama3 {
    /// transformers' `_compute_llama3_parameters` for one frequency. `scalar / tensor` is `tensor.reciprocal() *
    /// scalar` in torch, which rounds twice; hence the odd forms.
    fn scale(&self, freq: f32) -> f32 {
        let factor = self.factor as f32;
        let low_wavelength = (self.context / self.low) as f32;
        let high_wavelength = (self.context / self.high) as f32;
        let wavelength = (1.0 / freq) * (2.0 * std::f64::consts::PI) as f32;
        if wavelength > low_wavelength {
            return freq / factor;
        }
        if wavelength < high_wavelength {
            return freq;
        }
        let smooth = ((1.0 / wavelength) * self.context as f32 - self.low as f32) / (self.high - self.low) as f32;
        (1.0 - smooth) * freq / factor + smooth * freq
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Units in the last place between two lists of positive numbers, the second given by its bits.
    fn largest_error(ours: &[f32], theirs: &[u32]) -> u32 {
        assert_eq!(ours.len(), theirs.len());
        ours.iter().zip(theirs).map(|(ours, theirs)| ours.to_bits().abs_diff(*theirs)).max().unwrap()
    }

    // The numbers are the bits of
    //   1.0 / (theta ** (torch.arange(0, d, 2, dtype=torch.int64).to(dtype=torch.float) / d))
    // and of ROPE_INIT_FUNCTIONS[...](LlamaConfig(...)) in transformers 5.23 with torch on a CPU.

    #[test]
    fn plain_frequencies_are_torch_s() {
        let rope = Rope { theta: 100_000.0, scaling: RopeScaling::None };
        let expected = [
            1065353216, 1060283654, 1056527311, 1051589887, 1047712803, 1042904073, 1038909398, 1034226006, 1030116802,
            1025555485, 1021334738, 1016892311, 1012562930, 1008236293, 1003801109, 999587246, 995049016, 990944987,
            986306396, 982309339, 977573004, 973680130, 968848599, 965057193, 960132947, 956440363, 951425819,
            947746260, 942726994, 938924694, 934036253, 930114413,
        ];
        assert_eq!(largest_error(&rope.inv_freq(64), &expected), 0);
    }

    #[test]
    fn linear_scaling_is_transformers_s() {
        let rope = Rope { theta: 10_000.0, scaling: RopeScaling::Linear { factor: 4.0 } };
        let expected = [
            1048576000, 1044379921, 1041233306, 1037559963, 1034021019, 1030935587, 1026955399, 1023970679, 1020054733,
            1016697869, 1013339586, 1009564181, 1006733027, 1002586959, 999402809, 995785714, 992204554, 989182384,
            985154716, 982134391, 978271800, 974874893, 971576616, 967756174, 964891247, 960795788, 957573654,
            954013477, 950389600, 947431445, 943355731, 940299378,
        ];
        assert_eq!(largest_error(&rope.inv_freq(64), &expected), 0);
    }

    #[test]
    fn llama3_scaling_is_transformers_s() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        };
        let rope = Rope { theta: 500_000.0, scaling };
        let expected = [
            1065353216, 1062243009, 1059709382, 1057645444, 1054963644, 1052224381, 1049992931, 1047774305, 1044812720,
            1042400160, 1040434848, 1037480348, 1034871981, 1032747160, 1030233703, 1027413636, 1025116360, 1023079743,
            1020030793, 1017547065, 1015523779, 1012729580, 1010044269, 1007856767, 1005516623, 1002613366, 1000248322,
            998321717, 995260192, 990772486, 984863005, 979408798, 973706706, 967045384, 960179666, 952658054,
            950223245, 948239807, 945335425, 942703001, 940558584, 938099311, 935253236, 932934773, 930956739,
            927879669, 925373035, 923331087, 920588484, 917878407, 915670731, 913386368, 910456336, 908069481,
            906125108, 903112712, 900532135, 898429952, 895853901, 893063879, 890791079, 888686786, 885670320,
            883213055,
        ];
        assert_eq!(largest_error(&rope.inv_freq(128), &expected), 0);
    }

    #[test]
    fn factors_divide() {
        let factors = Rope { theta: 10_000.0, scaling: RopeScaling::Factors(vec![1.0, 2.0, 4.0, 8.0]) };
        let plain = Rope { theta: 10_000.0, scaling: RopeScaling::None }.inv_freq(8);
        assert_eq!(factors.inv_freq(8), [plain[0], plain[1] / 2.0, plain[2] / 4.0, plain[3] / 8.0]);
    }
}
