//! The trained numbers: by name, in f32 on the host, with their gradients.

/// What is trained of one tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// As the output file names it: PEFT's name for an adapter's matrix, Hugging Face's for a model's tensor.
    pub name: String,
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: Vec<f32>,
    /// The sum over the step so far.
    pub gradient: Vec<f32>,
}

/// All that is trained, in a fixed order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parameters(pub Vec<Parameter>);

impl Parameter {
    pub(super) fn new(name: String, shape: Vec<usize>, values: Vec<f32>) -> Self {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len());
        Self { name, shape, gradient: vec![0.0; values.len()], values }
    }
}

impl Parameters {
    /// Adds a tensor and gives its number.
    pub(super) fn push(&mut self, parameter: Parameter) -> usize {
        self.0.push(parameter);
        self.0.len() - 1
    }

    pub(super) fn clear_gradients(&mut self) {
        self.0.iter_mut().for_each(|parameter| parameter.gradient.fill(0.0));
    }

    /// The Euclidean norm of all gradients together.
    pub fn gradient_norm(&self) -> f64 {
        let square =
            |parameter: &Parameter| parameter.gradient.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>();
        self.0.iter().map(square).sum::<f64>().sqrt()
    }
}
